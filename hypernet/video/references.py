"""Refusing containers that refer to other files; FFmpeg would skip such a reference silently."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from hypernet.errors import UnsupportedVideo
from hypernet.video.matroska import SEGMENT, SIGNATURE, elements

#: An element of a container: its type, the first byte of its body, and its end.
_Element = tuple[int, int, int]

_MAX_ELEMENTS = 100_000
_MAX_DEPTH = 8
_SELF_CONTAINED = b"\x01"


def _code(name: bytes) -> int:
    return int.from_bytes(name, "big")


_MOV_FIRST = {b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"pnot"}
_MOV_PARENTS = {_code(name) for name in (b"moov", b"trak", b"mdia", b"minf", b"dinf")}
_DATA_REFERENCES, _REFERENCE_MOVIE = _code(b"dref"), _code(b"rmra")

_INFO, _CHAPTERS, _EDITION, _CHAPTER = 0x1549A966, 0x1043A770, 0x45B9, 0xB6
_MATROSKA_PARENTS = {SEGMENT, _INFO, _CHAPTERS, _EDITION, _CHAPTER}
_MATROSKA_LINKS = {
    0x3CB923: "a previous segment",
    0x3C83AB: "a previous file",
    0x3EB923: "a next segment",
    0x3E83BB: "a next file",
    0x6E67: "a chapter in another segment",
}


def refuse_references(path: Path, file: BinaryIO) -> None:
    """Raise UnsupportedVideo if the media lies, in part, in another file or segment.

    Covers MP4/MOV data references and Matroska segment linking; the other accepted formats have no
    such feature. A container too damaged to walk is left to the demuxer.
    """
    file.seek(0)
    head = file.read(8)
    size = file.seek(0, 2)
    if head.startswith(SIGNATURE):
        link = next(_matroska_links(file, size), None)
    elif head[4:] in _MOV_FIRST:
        link = next(_mov_links(file, size), None)
    else:
        link = None
    if link is not None:
        raise UnsupportedVideo(
            f"{path} keeps media in another file ({link}); such references are refused: copy it "
            "into one self-contained file first"
        )


def _mov_links(file: BinaryIO, size: int) -> Iterator[str]:
    """Every data reference that is not to the file itself, and every reference movie."""
    for kind, first, last in _walk(partial(_boxes, file), _MOV_PARENTS, size):
        if kind == _REFERENCE_MOVIE:
            yield "a reference movie"
        elif kind == _DATA_REFERENCES:
            for entry, body, _ in islice(_boxes(file, first + 8, last), _MAX_ELEMENTS):
                file.seek(body)
                if file.read(4)[-1:] != _SELF_CONTAINED:
                    name = entry.to_bytes(4, "big").decode("latin-1").strip()
                    yield f"a data reference of type {name!r}"


def _matroska_links(file: BinaryIO, size: int) -> Iterator[str]:
    for kind, _, _ in _walk(partial(elements, file), _MATROSKA_PARENTS, size):
        if kind in _MATROSKA_LINKS:
            yield _MATROSKA_LINKS[kind]


def _walk(
    children: Callable[[int, int], Iterator[_Element]], parents: set[int], size: int
) -> Iterator[_Element]:
    """Elements of a file and, within ``parents``, theirs; bounded whatever the file says."""
    left = _MAX_ELEMENTS
    pending = [(0, size, 0)]
    while pending:
        start, end, depth = pending.pop()
        for element in islice(children(start, end), left):
            left -= 1
            yield element
            if element[0] in parents and depth < _MAX_DEPTH:
                pending.append((element[1], element[2], depth + 1))


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[_Element]:
    """The MP4 boxes between two positions."""
    while start + 8 <= end:
        file.seek(start)
        header = file.read(16)
        if len(header) < 8:
            return
        size, kind = struct.unpack(">II", header[:8])
        body = start + 8
        if size == 1 and len(header) == 16:
            size, body = struct.unpack(">Q", header[8:])[0], start + 16
        last = end if size == 0 else start + size
        if last < body:
            return
        yield kind, body, min(last, end)
        start = last
