"""Writing a stream from finished segments."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hypernet.bitstream.container import (
    CHECKSUM_BYTES,
    INDEX_ENTRY_BYTES,
    PREAMBLE_BYTES,
    IndexEntry,
    Preamble,
    SectionType,
    StreamIndex,
    check_entry,
    pack_index,
    pack_preamble,
    with_checksum,
)
from hypernet.bitstream.header import StreamHeader, pack_header
from hypernet.bitstream.limits import DEFAULT_LIMITS
from hypernet.bitstream.output import atomic_output
from hypernet.bitstream.reader import pack_metadata
from hypernet.errors import InvalidStream

_COPY_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentPayload:
    """A coded segment: its place in the stream and its bytes, in memory or in a file."""

    first_frame: int
    num_frames: int
    first_pts: int
    payload: bytes | Path


def write_stream(
    output: BinaryIO | Path,
    header: StreamHeader,
    segments: Iterable[SegmentPayload],
    *,
    audio: bytes | Path | None = None,
    metadata: dict[str, Any] | None = None,
) -> int:
    """Write a whole stream. Equal input gives equal bytes.

    Payloads in files are read twice (checksum, then copy), one block at a time, so memory does not
    grow with the stream and the output need not be seekable.

    Args:
        output: an open binary file, or a path that is replaced atomically.
        header: must count exactly the frames of the segments.
        segments: in frame order.
        audio: the self-contained audio blob.
        metadata: JSON object; None or empty writes no section.

    Returns:
        Number of bytes written.

    Raises:
        InvalidStream: the parts do not make a valid stream.
        OutputNotWritable: only when ``output`` is a path.
    """
    if isinstance(output, Path):
        with atomic_output(output) as file:
            return write_stream(file, header, segments, audio=audio, metadata=metadata)
    sections = [_segment_section(segment) for segment in segments]
    if audio is not None:
        sections.append((_measured(SectionType.AUDIO, audio), audio))
    if metadata:
        blob = pack_metadata(metadata)
        sections.append((_measured(SectionType.METADATA, blob), blob))
    front, length = _front_matter(header, [entry for entry, _ in sections])
    output.write(front)
    for entry, payload in sections:
        _copy(output, entry, payload)
    return length


def _front_matter(header: StreamHeader, measured: list[IndexEntry]) -> tuple[bytes, int]:
    packed_header = pack_header(header)
    index_length = INDEX_ENTRY_BYTES * len(measured)
    position = PREAMBLE_BYTES + len(packed_header) + index_length + 2 * CHECKSUM_BYTES
    entries = []
    for entry in measured:
        check_entry(entry, DEFAULT_LIMITS)
        entries.append(dataclasses.replace(entry, offset=position))
        position += entry.length
    num_frames = StreamIndex(entries).num_frames
    if num_frames != header.num_frames:
        raise InvalidStream(
            f"the segments hold {num_frames} frames, the header says {header.num_frames}"
        )
    preamble = Preamble(
        header_length=len(packed_header), index_length=index_length, stream_length=position
    )
    front = pack_preamble(preamble) + with_checksum(packed_header)
    return front + with_checksum(pack_index(entries)), position


def _segment_section(segment: SegmentPayload) -> tuple[IndexEntry, bytes | Path]:
    entry = dataclasses.replace(
        _measured(SectionType.SEGMENT, segment.payload),
        first_frame=segment.first_frame,
        num_frames=segment.num_frames,
        first_pts=segment.first_pts,
    )
    return entry, segment.payload


def _measured(section: SectionType, payload: bytes | Path) -> IndexEntry:
    checksum = length = 0
    for block in _blocks(payload):
        checksum = zlib.crc32(block, checksum)
        length += len(block)
    return IndexEntry(type=section, checksum=checksum, offset=0, length=length)


def _copy(output: BinaryIO, entry: IndexEntry, payload: bytes | Path) -> None:
    checksum = 0
    for block in _blocks(payload):
        checksum = zlib.crc32(block, checksum)
        output.write(block)
    if checksum != entry.checksum:
        raise InvalidStream("a section changed while the stream was written")


def _blocks(payload: bytes | Path) -> Iterator[bytes]:
    if isinstance(payload, bytes):
        yield payload
        return
    with payload.open("rb") as file:
        while block := file.read(_COPY_BYTES):
            yield block
