"""The little of Matroska that FFmpeg's muxer leaves out: walking elements, and the pixel aspect."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

SIGNATURE = b"\x1a\x45\xdf\xa3"
SEGMENT = 0x18538067
_TRACKS, _TRACK, _VIDEO = 0x1654AE6B, 0xAE, 0xE0
_VOID, _MAX_BLOCK_ADDITION_ID = 0xEC, 0x55EE
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = 0x54B0, 0x54BA, 0x54B2
_UNIT_ASPECT = 3


def elements(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(identifier, first byte of the body, end) of each EBML element between two positions."""
    while start < end:
        file.seek(start)
        header = file.read(12)
        if len(header) < 2 or not header[0]:
            return
        id_bytes = 9 - header[0].bit_length()
        if id_bytes > 4 or len(header) <= id_bytes or not header[id_bytes]:
            return
        size_bytes = 9 - header[id_bytes].bit_length()
        body = start + id_bytes + size_bytes
        unknown = (1 << (7 * size_bytes)) - 1
        size = int.from_bytes(header[id_bytes : id_bytes + size_bytes], "big") & unknown
        last = end if size == unknown else body + size
        yield int.from_bytes(header[:id_bytes], "big"), body, min(last, end)
        start = last


def set_display_aspect(path: Path, aspect: Fraction) -> bool:
    """Give the first video track of a finished file its display shape, width over height.

    The muxer takes the shape from a field that cannot be set from here, but leaves padding in the
    track's description; the missing elements go there. Returns False if they do not fit. The file
    must have been written without checksums.
    """
    with path.open("r+b") as file:
        place = _video_track(file)
        if place is None:
            return False
        start, end = place
        for width_bytes in (4, 5):  # a gap of one byte cannot be filled with padding
            packed = _with_display_aspect(file, start, end, aspect, width_bytes)
            room = end - start - len(packed)
            if room == 0 or room >= 2:
                file.seek(start)
                file.write(packed + _void(room))
                return True
    return False


def _video_track(file: BinaryIO) -> tuple[int, int] | None:
    """First and last position of the description of the first video track."""
    places = [(0, file.seek(0, 2))]
    for wanted in (SEGMENT, _TRACKS, _TRACK):
        places = [
            (start, end)
            for place in places
            for kind, start, end in elements(file, *place)
            if kind == wanted
        ]
    for place in places:
        if any(kind == _VIDEO for kind, _, _ in elements(file, *place)):
            return place
    return None


def _with_display_aspect(
    file: BinaryIO, start: int, end: int, aspect: Fraction, width_bytes: int
) -> bytes:
    packed = b""
    for kind, first, last in elements(file, start, end):
        if kind == _VIDEO:
            shape = b"".join(
                _pack(inner, _read(file, a, b))
                for inner, a, b in elements(file, first, last)
                if inner not in {_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT, _VOID}
            )
            shape += _pack(_DISPLAY_UNIT, bytes([_UNIT_ASPECT]))
            shape += _pack(_DISPLAY_WIDTH, aspect.numerator.to_bytes(width_bytes, "big"))
            shape += _pack(_DISPLAY_HEIGHT, aspect.denominator.to_bytes(4, "big"))
            packed += _pack(_VIDEO, shape)
        elif kind != _VOID and not (kind == _MAX_BLOCK_ADDITION_ID and last - first == 1):
            packed += _pack(kind, _read(file, first, last))
    return packed


def _read(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


def _pack(kind: int, body: bytes) -> bytes:
    identifier = kind.to_bytes((kind.bit_length() + 7) // 8, "big")
    size_bytes = 1 if len(body) < 127 else 4
    size = len(body) | 1 << (7 * size_bytes)
    return identifier + size.to_bytes(size_bytes, "big") + body


def _void(length: int) -> bytes:
    if length == 0:
        return b""
    return _pack(_VOID, bytes(length - 2 if length <= 128 else length - 5))
