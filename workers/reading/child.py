"""The program of a reading child: ``python -m workers.reading.child PARENT MEMORY_BYTES``.

Requests come on standard input, answers go to standard output; see `workers.reading.messages`. The
process knows no secret, has no network where the system allows that, and ends with its parent.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from workers.reading.isolation import die_with, leave_network, limit_cpu, limit_memory
from workers.reading.messages import FRAME_HEADER, Kind, send, send_json

ALIVE_SECONDS = 0.5
BLOCK_BYTES = 1 << 20

Request = Mapping[str, Any]


def survey(request: Request, output: BinaryIO) -> None:
    """Describe a video and cut it into segments."""
    from hypernet.errors import UnsupportedVideo  # noqa: PLC0415
    from hypernet.video.probe import probe  # noqa: PLC0415
    from hypernet.video.reader import ReadReport  # noqa: PLC0415
    from hypernet.video.segments import plan_segments  # noqa: PLC0415

    path, report = Path(request["path"]), ReadReport()
    info = probe(path)
    with _heard_of(lambda: report.frames, output, claimed=info.estimated_frames or 0):
        segments = plan_segments(path, request["segment_frames"], report=report)
    if len(segments) > request["max_segments"]:
        raise UnsupportedVideo(
            f"{path} falls into {len(segments)} segments, by its cuts and its length; at most "
            f"{request['max_segments']} are accepted: cut it into parts first"
        )
    answer = {
        "info": asdict(info),
        "segments": [asdict(segment) for segment in segments],
        "warnings": report.warnings(),
    }
    send_json(output, Kind.DONE, answer)


def frames(request: Request, output: BinaryIO) -> None:
    """Send the frames of one segment."""
    from hypernet.video.reader import read_frames  # noqa: PLC0415

    read = read_frames(
        request["path"], request["start"], request["stop"], start_pts=request["start_pts"]
    )
    for frame in read:
        height, width, _ = frame.rgb_HWC.shape
        header = FRAME_HEADER.pack(frame.pts, height, width)
        send(output, Kind.FRAME, header, frame.rgb_HWC.reshape(-1).data)
    send_json(output, Kind.DONE, {})


def audio(request: Request, output: BinaryIO) -> None:
    """Send the sound, as a stream holds it, and name what cannot be copied."""
    from hypernet.video.audio import extract_audio  # noqa: PLC0415

    dropped: list[str] = []
    blob = memoryview(extract_audio(request["path"], dropped=dropped) or b"")
    for start in range(0, len(blob), BLOCK_BYTES):
        send(output, Kind.BYTES, blob[start : start + BLOCK_BYTES])
    send_json(output, Kind.DONE, {"dropped": dropped})


ANSWERS: Mapping[str, Callable[[Request, BinaryIO], None]] = {
    "survey": survey,
    "frames": frames,
    "audio": audio,
}


@contextmanager
def _heard_of(count: Callable[[], int], output: BinaryIO, *, claimed: int) -> Iterator[None]:
    """Tell the parent how many frames there are, first what the file claims, whenever it is more.

    A file that stops giving frames is not heard of: the parent notices.
    """
    finished = threading.Event()
    send_json(output, Kind.ALIVE, {"frames": claimed})

    def tell() -> None:
        told = 0
        while not finished.wait(ALIVE_SECONDS):
            if count() > told:
                told = count()
                send_json(output, Kind.ALIVE, {"frames": told})

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def answer(request: Request, output: BinaryIO) -> None:
    """Do what was asked; whatever is wrong with the file becomes an answer, too."""
    from hypernet.errors import HypernetError, UnreadableVideo  # noqa: PLC0415

    limit_cpu(request["cpu_seconds"])
    try:
        ANSWERS[request["do"]](request, output)
    except HypernetError as error:
        send_json(output, Kind.REFUSED, {"code": error.code, "message": str(error)})
    except MemoryError:
        send_json(output, Kind.REFUSED, {"code": "memory", "message": ""})
    except Exception as error:  # a file that confuses us must not look like a crash of ours
        traceback.print_exc()
        message = f"{request['path']} cannot be read: {type(error).__name__}: {error}"
        send_json(output, Kind.REFUSED, {"code": UnreadableVideo.code, "message": message})


def main() -> None:
    """Answer requests until there are no more."""
    die_with(int(sys.argv[1]))
    has_network = not leave_network()
    # What a library prints must not get between our messages.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _load()
    limit_memory(int(sys.argv[2]))
    send_json(output, Kind.READY, {"network": has_network})
    for line in sys.stdin.buffer:
        answer(json.loads(line), output)


def _load() -> None:
    """Import what answers need: FFmpeg and its threads come after the network is gone."""
    import hypernet.video.audio  # noqa: PLC0415
    import hypernet.video.segments  # noqa: F401, PLC0415


if __name__ == "__main__":
    main()
