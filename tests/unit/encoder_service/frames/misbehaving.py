"""A renderer that does what the frame number says, started in the place of the real one."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

from encoder_service.frames.protocol import PICTURE, READ, REFUSED, receive, send

HANG, DIE, NONSENSE, WHO, ENVIRONMENT, READS, MODELS = range(7)


def main() -> None:
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            header, _ = receive(requests)
        except EOFError:
            return
        frame = header["frame"]
        if frame == HANG:
            threading.Event().wait()
        elif frame == DIE:
            os._exit(7)
        elif frame == NONSENSE:
            answers.write(b"once upon a time\n")
            answers.flush()
        elif frame == WHO:
            send(answers, {"kind": PICTURE}, str(os.getpid()).encode())
        elif frame == ENVIRONMENT:
            send(answers, {"kind": PICTURE}, json.dumps(dict(os.environ)).encode())
        elif frame == MODELS:
            installed = sorted(Path(os.environ.get("NRV_MODELS", "/nowhere")).glob("*"))
            if installed:
                send(answers, {"kind": PICTURE}, installed[0].read_bytes())
            else:
                refusal = {"code": "decode_file.missing", "message": "put it into a folder"}
                send(answers, {"kind": REFUSED, **refusal})
        elif frame == READS:
            send(answers, {"kind": READ, "offset": 2, "length": 3})
            _, data = receive(requests)
            send(answers, {"kind": PICTURE}, data)


if __name__ == "__main__":
    main()
