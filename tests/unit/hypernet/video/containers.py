"""Rewrites MP4 and Matroska files byte by byte, to make ones that no muxer writes."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

from hypernet.video.matroska import SEGMENT, elements

_PARENTS = {b"moov", b"trak", b"mdia", b"minf", b"dinf", b"edts"}


def rewrite_boxes(data: bytes, change: Callable[[bytes, bytes], bytes]) -> bytes:
    """An MP4 file with the body of every box replaced by ``change(type, body)``.

    The media data must come before the index, so that no offset into it moves.
    """
    out = b""
    while data:
        size, kind = struct.unpack(">I4s", data[:8])
        body, data = data[8:size], data[size:]
        body = rewrite_boxes(body, change) if kind in _PARENTS else body
        body = change(kind, body)
        out += struct.pack(">I4s", 8 + len(body), kind) + body
    return out


def data_reference(kind: bytes, payload: bytes, *, self_contained: bool) -> bytes:
    """The body of a ``dref`` box with one entry."""
    entry = struct.pack(">I4sI", 12 + len(payload), kind, self_contained) + payload
    return struct.pack(">II", 0, 1) + entry


def alias_record(path: str) -> bytes:
    """A Macintosh alias to an absolute path, as reference movies hold it."""
    target = path.encode() + b"\0" * (len(path) % 2)
    record = bytes(10) + b"\0" + bytes(27) + bytes(12) + b"\0" + bytes(63) + bytes(16)
    record += struct.pack(">hh", -1, -1) + bytes(16)
    return record + struct.pack(">hH", 2, len(target)) + target + struct.pack(">hH", -1, 0)


def insert_into_segment(data: bytes, element: bytes) -> bytes:
    """A Matroska file with one more element at the end of its segment."""
    for kind, start, _ in elements(io.BytesIO(data), 0, len(data)):
        if kind == SEGMENT:
            size = len(data) - start + len(element)
            head = SEGMENT.to_bytes(4, "big") + (size | 1 << 56).to_bytes(8, "big")
            return data[: start - len(head)] + head + data[start:] + element
    raise AssertionError("no segment")


def element(identifier: int, body: bytes) -> bytes:
    """One EBML element."""
    name = identifier.to_bytes((identifier.bit_length() + 7) // 8, "big")
    return name + (len(body) | 1 << 28).to_bytes(4, "big") + body
