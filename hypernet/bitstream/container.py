"""Preamble and section index: what a reader must know before it touches a section.

A stream is: preamble, header + checksum, index + checksum, then the sections in index order without
gaps. All integers are little-endian. Checksums are CRC-32 (zlib).
"""

from __future__ import annotations

import bisect
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from hypernet.bitstream.limits import Limits, check_limit
from hypernet.errors import InvalidStream

SIGNATURE = b"\x89NRV\r\n\x1a\n"
MAJOR_VERSION = 1
MINOR_VERSION = 0

PREAMBLE_BYTES = 32
INDEX_ENTRY_BYTES = 40
CHECKSUM_BYTES = 4
FLAG_OPTIONAL = 1

_PREAMBLE = struct.Struct("<8sBBHIIQ")
_ENTRY = struct.Struct("<BBHIQQIIq")
_CHECKSUM = struct.Struct("<I")


class SectionType(IntEnum):
    """What a section holds."""

    SEGMENT = 1
    AUDIO = 2
    METADATA = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Preamble:
    """The first 32 bytes: versions and lengths, all in bytes."""

    major: int = MAJOR_VERSION
    minor: int = MINOR_VERSION
    header_length: int
    index_length: int
    stream_length: int

    @property
    def front_length(self) -> int:
        """Bytes before the first section."""
        return PREAMBLE_BYTES + self.header_length + self.index_length + 2 * CHECKSUM_BYTES


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexEntry:
    """One section: where it lies and, for a segment, which frames it holds.

    ``first_pts`` is in units of the header's time base. Frame fields are zero for other sections.
    """

    type: int
    flags: int = 0
    checksum: int
    offset: int
    length: int
    first_frame: int = 0
    num_frames: int = 0
    first_pts: int = 0


class StreamIndex:
    """The sections of a stream; finds the segment of a frame.

    Args:
        entries: all sections in stream order. Segments must lie in frame order without gaps.

    Raises:
        InvalidStream: segments overlap, leave gaps, go back in time, or a section appears twice.
    """

    def __init__(self, entries: Sequence[IndexEntry]) -> None:
        self.entries = tuple(entries)
        self.segments = tuple(e for e in self.entries if e.type == SectionType.SEGMENT)
        self.audio = self._single(SectionType.AUDIO)
        self.metadata = self._single(SectionType.METADATA)
        self._first_frames = [segment.first_frame for segment in self.segments]
        self.num_frames = self._check_segments()

    def segment_of(self, frame: int) -> int:
        """Number of the segment that holds ``frame``.

        Raises:
            IndexError: ``frame`` is not in ``0 .. num_frames - 1``.
        """
        if not 0 <= frame < self.num_frames:
            raise IndexError(f"frame {frame} of {self.num_frames}")
        return bisect.bisect_right(self._first_frames, frame) - 1

    def _single(self, section: SectionType) -> IndexEntry | None:
        found = [entry for entry in self.entries if entry.type == section]
        if len(found) > 1:
            raise InvalidStream(f"{len(found)} {section.name.lower()} sections, at most 1 allowed")
        return found[0] if found else None

    def _check_segments(self) -> int:
        frame = 0
        previous_pts: int | None = None
        for number, segment in enumerate(self.segments):
            if segment.first_frame != frame or segment.num_frames < 1:
                raise InvalidStream(f"segment {number} does not continue at frame {frame}")
            if previous_pts is not None and segment.first_pts <= previous_pts:
                raise InvalidStream(f"segment {number} does not start later than the one before")
            frame += segment.num_frames
            previous_pts = segment.first_pts
        return frame


def with_checksum(payload: bytes) -> bytes:
    """``payload`` followed by its CRC-32."""
    return payload + _CHECKSUM.pack(zlib.crc32(payload))


def without_checksum(what: str, data: bytes) -> bytes:
    """Payload of ``data``, whose last four bytes are its CRC-32.

    Raises:
        InvalidStream: the checksum does not match.
    """
    payload, (stored,) = data[:-CHECKSUM_BYTES], _CHECKSUM.unpack(data[-CHECKSUM_BYTES:])
    check_checksum(what, payload, stored)
    return payload


def check_checksum(what: str, payload: bytes, stored: int) -> None:
    """Compare a CRC-32.

    Raises:
        InvalidStream: the checksum does not match; the message names ``what``.
    """
    if zlib.crc32(payload) != stored:
        raise InvalidStream(f"the {what} is damaged: its checksum does not match")


def pack_preamble(preamble: Preamble) -> bytes:
    """The first 32 bytes of a stream."""
    return with_checksum(
        _PREAMBLE.pack(
            SIGNATURE,
            preamble.major,
            preamble.minor,
            0,
            preamble.header_length,
            preamble.index_length,
            preamble.stream_length,
        )
    )


def unpack_preamble(data: bytes, *, present: int, limits: Limits) -> Preamble:
    """Parse the first 32 bytes.

    Args:
        data: the bytes.
        present: how many bytes the source holds in total.
        limits: bounds of the header and the index.

    Raises:
        InvalidStream: not a stream, another major version, too long or too short, or damaged.
    """
    if data[:8] != SIGNATURE:
        raise InvalidStream("not an .nrv stream: the signature does not match")
    _, major, minor, reserved, header_length, index_length, stream_length = _PREAMBLE.unpack(
        without_checksum("preamble", data)
    )
    if major != MAJOR_VERSION:
        raise InvalidStream(
            f"stream version {major}.{minor}, this reader knows {MAJOR_VERSION}.x: update nrv"
        )
    if reserved != 0:
        raise InvalidStream(f"reserved field of the preamble is {reserved}, not 0")
    preamble = Preamble(
        major=major,
        minor=minor,
        header_length=header_length,
        index_length=index_length,
        stream_length=stream_length,
    )
    check_limit("header length", header_length, limits.max_header_bytes)
    check_limit("index length", index_length, limits.max_index_bytes)
    if present < stream_length:
        raise InvalidStream(f"truncated stream: {present} of {stream_length} bytes are present")
    if present > stream_length:
        raise InvalidStream(f"{present - stream_length} trailing bytes after the stream")
    if preamble.front_length > stream_length:
        raise InvalidStream("header and index are longer than the stream")
    return preamble


def pack_index(entries: Sequence[IndexEntry]) -> bytes:
    """The index payload, 40 bytes per section."""
    return b"".join(
        _ENTRY.pack(
            entry.type,
            entry.flags,
            0,
            entry.checksum,
            entry.offset,
            entry.length,
            entry.first_frame,
            entry.num_frames,
            entry.first_pts,
        )
        for entry in entries
    )


def unpack_index(payload: bytes, *, preamble: Preamble, limits: Limits) -> StreamIndex:
    """Parse the index payload.

    Raises:
        InvalidStream: entries that overlap, leave gaps, reach past the end, exceed a limit, or are
            of an unknown type without the optional flag.
    """
    if len(payload) % INDEX_ENTRY_BYTES != 0:
        raise InvalidStream(f"index length {len(payload)} is no multiple of {INDEX_ENTRY_BYTES}")
    entries: list[IndexEntry] = []
    position = preamble.front_length
    for kind, flags, reserved, checksum, offset, length, first, count, pts in _ENTRY.iter_unpack(
        payload
    ):
        if offset != position or length > preamble.stream_length - position:
            raise InvalidStream(f"section {len(entries)} does not lie where the one before ends")
        if reserved != 0 or flags & ~FLAG_OPTIONAL:
            raise InvalidStream(f"reserved bits of section {len(entries)} are set")
        entry = IndexEntry(
            type=kind,
            flags=flags,
            checksum=checksum,
            offset=offset,
            length=length,
            first_frame=first,
            num_frames=count,
            first_pts=pts,
        )
        check_entry(entry, limits)
        entries.append(entry)
        position += length
    if position != preamble.stream_length:
        raise InvalidStream("the sections end before the stream does")
    index = StreamIndex(entries)
    check_limit("the number of segments", len(index.segments), limits.max_segments)
    return index


def check_entry(entry: IndexEntry, limits: Limits) -> None:
    """Refuse a section that is over the limits, has stray fields, or is of an unknown type.

    Raises:
        InvalidStream: see above.
    """
    if entry.type == SectionType.SEGMENT:
        check_limit("segment length", entry.length, limits.max_segment_bytes)
        check_limit("frames of a segment", entry.num_frames, limits.max_frames_per_segment)
        return
    if entry.first_frame or entry.num_frames or entry.first_pts:
        raise InvalidStream("a section that is no segment has frames")
    if entry.type == SectionType.AUDIO:
        check_limit("audio length", entry.length, limits.max_audio_bytes)
    elif entry.type == SectionType.METADATA:
        check_limit("metadata length", entry.length, limits.max_metadata_bytes)
    elif not entry.flags & FLAG_OPTIONAL:
        raise InvalidStream(f"unknown section type {entry.type}: update nrv")
