"""Damaged streams for fuzzing: random edits, most of them with every checksum made right again.

A mutant with right checksums gets past the container, so the parsers and the entropy decoder behind
it see the damage.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from hypernet.bitstream.container import INDEX_ENTRY_BYTES, PREAMBLE_BYTES

Random = np.random.Generator
Edit = Callable[[Random, bytearray], None]

_INTERESTING = (0, 1, 2, 3, 127, 128, 255, 256, 16384, 65535, 2**24, 2**31, 2**32 - 1)


@dataclass
class Parts:
    """A stream taken apart; putting it together makes lengths, offsets and checksums right."""

    version: bytes
    header: bytearray
    entries: list[bytearray] = field(default_factory=list)
    sections: list[bytearray] = field(default_factory=list)

    @classmethod
    def of(cls, stream: bytes) -> Parts:
        header_length, index_length = struct.unpack_from("<II", stream, 12)
        start = PREAMBLE_BYTES + header_length + 4
        parts = cls(stream[:12], bytearray(stream[PREAMBLE_BYTES : start - 4]))
        for position in range(start, start + index_length, INDEX_ENTRY_BYTES):
            entry = bytearray(stream[position : position + INDEX_ENTRY_BYTES])
            offset, length = struct.unpack_from("<QQ", entry, 8)
            parts.entries.append(entry)
            parts.sections.append(bytearray(stream[offset : offset + length]))
        return parts

    def join(self, fix: Callable[[bytearray], None] = lambda _: None) -> bytes:
        """The stream; ``fix`` may spoil the index payload before its checksum is made."""
        index_length = INDEX_ENTRY_BYTES * len(self.entries)
        position = PREAMBLE_BYTES + len(self.header) + index_length + 8
        index = bytearray()
        for entry, section in zip(self.entries, self.sections, strict=True):
            struct.pack_into("<IQQ", entry, 4, zlib.crc32(section), position, len(section))
            index += entry
            position += len(section)
        fix(index)
        front = self.version + struct.pack("<IIQ", len(self.header), len(index), position)
        blocks = (front, bytes(self.header), bytes(index))
        sealed = b"".join(block + struct.pack("<I", zlib.crc32(block)) for block in blocks)
        return sealed + b"".join(self.sections)


def mutants(stream: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Damaged copies of a stream, three in four with right checksums; same seed, same copies."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        if number % 4 == 0:
            data = bytearray(stream)
            _edit(rng, data)
            yield bytes(data)
        else:
            yield sealed_mutant(rng, stream)


def sealed_mutant(rng: Random, stream: bytes) -> bytes:
    """One damaged copy whose checksums are all right."""
    parts = Parts.of(stream)
    target = rng.integers(10)
    if target == 0:
        _edit(rng, parts.header)
    elif target == 1:
        return parts.join(fix=lambda index: _edit(rng, index))
    elif target == 2:
        entry = parts.entries[rng.integers(len(parts.entries))]
        _set_field(rng, entry)
    elif target == 3:
        a, b = rng.integers(len(parts.sections), size=2)
        parts.sections[a], parts.sections[b] = parts.sections[b], parts.sections[a]
    else:
        section = parts.sections[rng.integers(len(parts.sections))]
        # The head of a segment is a small part of it and the most interesting one.
        _edit(rng, section, reach=40 if target < 7 else None)
    return parts.join()


def _edit(rng: Random, data: bytearray, reach: int | None = None) -> None:
    """One to four random edits within the first ``reach`` bytes."""
    edits: tuple[Edit, ...] = (_flip_bit, _set_byte, _set_field, _cut, _insert, _repeat, _truncate)
    for _ in range(rng.integers(1, 5)):
        head = data[:reach] if reach else bytearray(data)
        rest = data[len(head) :]
        if head:
            edits[rng.integers(len(edits))](rng, head)
        data[:] = head + rest


def _flip_bit(rng: Random, data: bytearray) -> None:
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))


def _set_byte(rng: Random, data: bytearray) -> None:
    data[rng.integers(len(data))] = int(rng.integers(256))


def _set_field(rng: Random, data: bytearray) -> None:
    """Overwrite what may be a length or a count."""
    width = int(rng.choice([1, 2, 4, 8]))
    position = int(rng.integers(len(data)))
    value = int(rng.choice(_INTERESTING)) if rng.integers(2) else int(rng.integers(2**63))
    replacement = (value % 256**width).to_bytes(width, "little")
    data[position : position + width] = replacement[: len(data) - position]


def _cut(rng: Random, data: bytearray) -> None:
    start = int(rng.integers(len(data)))
    del data[start : start + int(rng.integers(1, 9))]


def _insert(rng: Random, data: bytearray) -> None:
    start = int(rng.integers(len(data) + 1))
    data[start:start] = rng.bytes(int(rng.integers(1, 9)))


def _repeat(rng: Random, data: bytearray) -> None:
    """Splice: copy one range over another place."""
    source, target = rng.integers(len(data), size=2)
    length = int(rng.integers(1, 65))
    data[target : target + length] = data[source : source + length]


def _truncate(rng: Random, data: bytearray) -> None:
    if rng.integers(4) == 0:
        del data[int(rng.integers(len(data))) :]
