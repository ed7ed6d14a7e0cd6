"""Reading a stream: front matter at once, sections when asked for."""

from __future__ import annotations

import json
from typing import Any

from hypernet.bitstream.container import (
    CHECKSUM_BYTES,
    MINOR_VERSION,
    PREAMBLE_BYTES,
    IndexEntry,
    SectionType,
    check_checksum,
    unpack_index,
    unpack_preamble,
    without_checksum,
)
from hypernet.bitstream.header import unpack_header
from hypernet.bitstream.limits import DEFAULT_LIMITS, Limits
from hypernet.bitstream.sources import ByteSource
from hypernet.errors import InvalidStream


class StreamReader:
    """An opened stream. Opening reads the preamble, the header and the index, nothing else.

    Attributes:
        preamble: versions and lengths.
        header: what holds for the whole stream.
        index: the sections.

    Raises:
        InvalidStream: the front matter is damaged, truncated or over the limits.
    """

    def __init__(self, source: ByteSource, limits: Limits = DEFAULT_LIMITS) -> None:
        self._source = source
        self.limits = limits
        size = source.size()
        if size < PREAMBLE_BYTES:
            raise InvalidStream(f"not an .nrv stream: only {size} bytes")
        self.preamble = unpack_preamble(source.read(0, PREAMBLE_BYTES), present=size, limits=limits)
        front = source.read(PREAMBLE_BYTES, self.preamble.front_length - PREAMBLE_BYTES)
        header_end = self.preamble.header_length + CHECKSUM_BYTES
        self.header = unpack_header(
            without_checksum("header", front[:header_end]),
            limits=limits,
            allow_more=self.preamble.minor > MINOR_VERSION,
        )
        self.index = unpack_index(
            without_checksum("index", front[header_end:]), preamble=self.preamble, limits=limits
        )
        if self.index.num_frames != self.header.num_frames:
            raise InvalidStream(
                f"the segments hold {self.index.num_frames} frames, "
                f"the header says {self.header.num_frames}"
            )

    def segment(self, number: int) -> bytes:
        """Payload of a segment, its checksum verified.

        Raises:
            IndexError: there is no such segment.
            InvalidStream: the segment is damaged.
        """
        return self._section(f"segment {number}", self.index.segments[number])

    def audio(self) -> bytes | None:
        """The audio blob, None if the stream has none."""
        return None if self.index.audio is None else self._section("audio", self.index.audio)

    def metadata(self) -> dict[str, Any]:
        """The metadata object, empty if the stream has none."""
        if self.index.metadata is None:
            return {}
        return unpack_metadata(self._section("metadata", self.index.metadata))

    def verify(self) -> None:
        """Read everything and check every checksum, one section at a time.

        Raises:
            InvalidStream: something is damaged; the message names the part.
        """
        for number in range(len(self.index.segments)):
            self.segment(number)
        self.audio()
        self.metadata()
        for entry in self.index.entries:
            if entry.type not in set(SectionType):
                self._section(f"section of type {entry.type}", entry)

    def _section(self, what: str, entry: IndexEntry) -> bytes:
        data = self._source.read(entry.offset, entry.length)
        check_checksum(what, data, entry.checksum)
        return data


def pack_metadata(metadata: dict[str, Any]) -> bytes:
    """Metadata as canonical UTF-8 JSON: equal objects give equal bytes."""
    text = json.dumps(
        metadata, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def unpack_metadata(payload: bytes) -> dict[str, Any]:
    """Parse a metadata section.

    Raises:
        InvalidStream: not a UTF-8 JSON object.
    """
    try:
        metadata = json.loads(payload.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidStream(f"the metadata is not JSON: {error}") from error
    if not isinstance(metadata, dict):
        raise InvalidStream("the metadata is not a JSON object")
    return metadata
