"""Refusing containers that refer to other files; FFmpeg would skip such a reference silently."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from hypernet.errors import UnsupportedVideo
from hypernet.video.matroska import SEGMENT, SIGNATURE, elements

_PARENTS = {b"moov", b"trak", b"mdia", b"minf", b"dinf"}
_SELF_CONTAINED = b"\x01"
_MAX_BOXES = 100_000
_INFO, _CHAPTERS, _EDITION, _CHAPTER = 0x1549A966, 0x1043A770, 0x45B9, 0xB6
_LINKS = {
    0x3CB923: "previous segment",
    0x3C83AB: "previous file",
    0x3EB923: "next segment",
    0x3E83BB: "next file",
    0x6E67: "chapter in another segment",
}


def refuse_references(path: Path, file: BinaryIO) -> None:
    """Raise UnsupportedVideo if the media lies, in part, in another file or segment.

    Covers MP4/MOV data references and Matroska segment linking; the other accepted formats have no
    such feature. A container too damaged to walk is left to the demuxer.
    """
    file.seek(0)
    head = file.read(12)
    size = file.seek(0, 2)
    if head.startswith(SIGNATURE):
        link = next(_matroska_links(file, 0, size), None)
    elif head[4:8] in {b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"pnot"}:
        link = next(_mov_links(file, 0, size), None)
    else:
        link = None
    if link is not None:
        raise UnsupportedVideo(
            f"{path} keeps media in another file ({link}); such references are refused: copy it "
            "into one self-contained file first"
        )


def _mov_links(file: BinaryIO, start: int, end: int) -> Iterator[str]:
    """Every data reference that is not to the file itself, and every reference movie."""
    for kind, first, last in _boxes(file, start, end):
        if kind in _PARENTS:
            yield from _mov_links(file, first, last)
        elif kind == b"dref":
            for entry, body, _ in _boxes(file, first + 8, last):
                file.seek(body)
                if file.read(4)[-1:] != _SELF_CONTAINED:
                    yield f"a data reference of type {entry.decode('latin-1').strip()!r}"
        elif kind == b"rmra":
            yield "a reference movie"


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, first byte of the body, end) of each box between two positions."""
    for _ in range(_MAX_BOXES):
        file.seek(start)
        header = file.read(16)
        if start + 8 > end or len(header) < 8:
            return
        size, kind = struct.unpack(">I4s", header[:8])
        body = start + 8
        if size == 1 and len(header) == 16:
            size, body = struct.unpack(">Q", header[8:])[0], start + 16
        last = end if size == 0 else start + size
        if last < body:
            return
        yield kind, body, min(last, end)
        start = last


def _matroska_links(file: BinaryIO, start: int, end: int) -> Iterator[str]:
    for kind, first, last in elements(file, start, end):
        if kind in _LINKS:
            yield _LINKS[kind]
        elif kind in {SEGMENT, _INFO, _CHAPTERS, _EDITION, _CHAPTER}:
            yield from _matroska_links(file, first, last)
