"""What a reading child and its parent say to each other.

The parent sends one line of JSON per request. The child answers with messages: a header (kind, and
length of the body in bytes) and a body of pixels, bytes or JSON. Nothing in them is executed, and
the parent checks every length before it reads.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import BinaryIO

HEADER = struct.Struct("<BQ")
FRAME_HEADER = struct.Struct("<qII")  # timestamp, height, width; 8-bit RGB follows


class Kind(IntEnum):
    """What a message holds."""

    READY = 0  # JSON: the child takes requests; whether it still has a network
    ALIVE = 1  # JSON: frames that were read so far
    FRAME = 2
    BYTES = 3
    DONE = 4  # JSON: the end of an answer
    REFUSED = 5  # JSON: code and message of an error


def send(file: BinaryIO, kind: Kind, *parts: bytes | memoryview) -> None:
    """Write one message whose body is these parts, one after the other."""
    file.write(HEADER.pack(kind, sum(len(part) for part in parts)))
    for part in parts:
        file.write(part)
    file.flush()


def send_json(file: BinaryIO, kind: Kind, value: Mapping[str, object]) -> None:
    """Write one message; fractions become strings."""
    send(file, kind, json.dumps(value, default=str).encode())
