"""What the API and a renderer say to each other: a line of JSON, then the bytes that it announces.

JSON and raw bytes only, so a renderer that a damaged stream has taken over can send nothing that
would run on the other side.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, BinaryIO

MAX_HEADER_BYTES = 2**16
MAX_PAYLOAD_BYTES = 2**28
PAYLOAD = "payload_bytes"

# What a message is about: the value of its field "kind".
RENDER = "render"  # to the renderer: make this picture
READ = "read"  # from the renderer: send me this range of the stream
BYTES = "bytes"  # to the renderer: the range
PICTURE = "picture"  # from the renderer: here it is
REFUSED = "refused"  # from the renderer: it cannot be made, and why


def send(file: BinaryIO, header: Mapping[str, object], payload: bytes = b"") -> None:
    """Write one message.

    Raises:
        OSError: the other side is gone.
    """
    line = json.dumps({**header, PAYLOAD: len(payload)}).encode()
    file.write(line + b"\n" + payload)
    file.flush()


def receive(file: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """Read one message.

    Raises:
        EOFError: the other side is gone.
        ValueError: what came is no message, or too large.
    """
    line = file.readline(MAX_HEADER_BYTES)
    if not line:
        raise EOFError
    header = json.loads(line)
    if not isinstance(header, dict):
        raise ValueError("a message begins with an object")
    size = header.pop(PAYLOAD, None)
    if not isinstance(size, int) or not 0 <= size <= MAX_PAYLOAD_BYTES:
        raise ValueError(f"a message has 0 to {MAX_PAYLOAD_BYTES} bytes, not {size}")
    payload = file.read(size)
    if len(payload) < size:
        raise EOFError
    return header, payload
