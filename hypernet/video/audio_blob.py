"""The audio section of a stream: compressed packets with exact timing, and how to open a decoder.

    blob  = magic "NRVA", version u8, number of tracks u8, track...
    track = carrier format u8, time base u32/u32, language u8 + bytes,
            carrier u32 + bytes, number of packets u32, table u32 + bytes, payload u64 + bytes

Integers are little-endian. The carrier is a tiny media file with the track's first packet: it holds
the codec parameters in a form every muxer can take over. The table is zlib over the columns of
``COLUMNS``, int64 each, delta-coded downwards. The payload is the packets, one after the other.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypernet.errors import InvalidStream

#: Containers that may carry codec parameters; their positions are on the wire.
CARRIERS = ("mp4", "mov", "matroska", "nut")
#: Per packet: bytes; times in the time base (``NO_TIME`` if unknown); 1 for a key packet; samples
#: that a player drops at the beginning and at the end of the decoded packet.
COLUMNS = ("size", "pts", "dts", "duration", "key", "skip_start", "skip_end")
NO_TIME = -(1 << 63)

MAX_TRACKS = 32
MAX_PACKETS = 1 << 21
MAX_CARRIER_BYTES = 1 << 22
_MAX_TABLE_BYTES = 1 << 26
_MAX_TIME = 1 << 60
_MAX_TERM = (1 << 31) - 1  # of a time base

_HEAD = struct.Struct("<4sBB")
_MAGIC, _VERSION = b"NRVA", 1


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioPacket:
    """One coded packet; times in the track's time base, skips in samples."""

    data: bytes
    pts: int | None
    dts: int
    duration: int
    key: bool
    skip_start: int
    skip_end: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioTrack:
    """One track: ``table_NC`` has a row per packet with the columns of ``COLUMNS``, int64."""

    carrier_format: str
    carrier: bytes
    time_base: Fraction
    language: str
    table_NC: NDArray[np.int64]
    payload: bytes

    def packets(self) -> Iterator[AudioPacket]:
        """The packets in decoding order."""
        start = 0
        for size, pts, dts, duration, key, skip_start, skip_end in self.table_NC.tolist():
            yield AudioPacket(
                data=self.payload[start : start + size],
                pts=None if pts == NO_TIME else pts,
                dts=dts,
                duration=duration,
                key=bool(key),
                skip_start=skip_start,
                skip_end=skip_end,
            )
            start += size


def pack_audio(tracks: tuple[AudioTrack, ...]) -> bytes:
    """The blob of one or more tracks."""
    parts = [_HEAD.pack(_MAGIC, _VERSION, len(tracks))]
    for track in tracks:
        language = track.language.encode()[:255]
        delta = np.diff(track.table_NC, axis=0, prepend=np.zeros((1, len(COLUMNS)), np.int64))
        table = zlib.compress(np.ascontiguousarray(delta.T, dtype="<i8").tobytes(), 9)
        base = track.time_base
        parts += [
            struct.pack("<BII", CARRIERS.index(track.carrier_format), *base.as_integer_ratio()),
            struct.pack("<B", len(language)) + language,
            struct.pack("<I", len(track.carrier)) + track.carrier,
            struct.pack("<II", len(track.table_NC), len(table)) + table,
            struct.pack("<Q", len(track.payload)),
            track.payload,
        ]
    return b"".join(parts)


def unpack_audio(blob: bytes) -> tuple[AudioTrack, ...]:
    """Parse a blob; memory stays within the blob's own size and 56 bytes per packet.

    Raises:
        InvalidStream: not such a blob, damaged, or over the limits.
    """
    fields = _Fields(blob)
    magic, version, count = fields.unpack(_HEAD.format)
    if magic != _MAGIC:
        raise InvalidStream("the audio section does not start with its signature")
    if version != _VERSION:
        raise InvalidStream(f"the audio section has version {version}; only 1 is known")
    if not 1 <= count <= MAX_TRACKS:
        raise InvalidStream(f"the audio section has {count} tracks, allowed is 1..{MAX_TRACKS}")
    tracks = tuple(_unpack_track(fields) for _ in range(count))
    if fields.position != len(blob):
        raise InvalidStream("the audio section has bytes after its last track")
    return tracks


def _unpack_track(fields: _Fields) -> AudioTrack:
    carrier, numerator, denominator = fields.unpack("<BII")
    if carrier >= len(CARRIERS):
        raise InvalidStream(f"an audio track has the unknown carrier format {carrier}")
    if not 1 <= numerator <= _MAX_TERM or not 1 <= denominator <= _MAX_TERM:
        raise InvalidStream(f"an audio track has the time base {numerator}/{denominator}")
    language = fields.take(fields.unpack("<B")[0])
    carrier_bytes = fields.take(fields.unpack("<I")[0], MAX_CARRIER_BYTES)
    num_packets, table_bytes = fields.unpack("<II")
    if not 1 <= num_packets <= min(MAX_PACKETS, fields.left):  # a packet has a byte at least
        raise InvalidStream(f"an audio track has {num_packets} packets")
    table = _unpack_table(fields.take(table_bytes, _MAX_TABLE_BYTES), num_packets)
    payload = fields.take(fields.unpack("<Q")[0])
    if int(table[:, 0].sum()) != len(payload):
        raise InvalidStream("the packets of an audio track do not add up to its payload")
    return AudioTrack(
        carrier_format=CARRIERS[carrier],
        carrier=carrier_bytes,
        time_base=Fraction(numerator, denominator),
        language=language.decode("utf-8", "replace"),
        table_NC=table,
        payload=payload,
    )


def _unpack_table(packed: bytes, num_packets: int) -> NDArray[np.int64]:
    expected = num_packets * len(COLUMNS) * 8
    inflate = zlib.decompressobj()
    try:
        raw = inflate.decompress(packed, expected)
    except zlib.error as error:
        raise InvalidStream(f"the packet table of an audio track is damaged: {error}") from error
    if len(raw) != expected or not inflate.eof or inflate.unused_data:
        raise InvalidStream("the packet table of an audio track has the wrong length")
    delta = np.frombuffer(raw, dtype="<i8").reshape(len(COLUMNS), num_packets)
    table = np.cumsum(delta, axis=1, dtype=np.int64).T
    _check_table(table)
    return table


def _check_table(table: NDArray[np.int64]) -> None:
    size, pts, dts, duration, key, skip_start, skip_end = table.T
    timed = pts[pts != NO_TIME]
    valid = (
        ((size > 0) & (size < 1 << 30)).all()
        and ((timed > -_MAX_TIME) & (timed < _MAX_TIME)).all()
        and ((dts > -_MAX_TIME) & (dts < _MAX_TIME)).all()
        and (dts[1:] > dts[:-1]).all()
        and ((duration >= 0) & (duration < _MAX_TIME)).all()
        and ((key == 0) | (key == 1)).all()
        and all(((skip >= 0) & (skip < 1 << 32)).all() for skip in (skip_start, skip_end))
    )
    if not valid:
        raise InvalidStream("the packet table of an audio track is out of range")


class _Fields:
    """Reads a blob front to back, never past its end."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob
        self.position = 0

    @property
    def left(self) -> int:
        return len(self._blob) - self.position

    def unpack(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def take(self, length: int, limit: int | None = None) -> bytes:
        end = self.position + length
        if length > self.left or (limit is not None and length > limit):
            raise InvalidStream("the audio section ends early or holds an oversized field")
        taken = self._blob[self.position : end]
        self.position = end
        return taken
