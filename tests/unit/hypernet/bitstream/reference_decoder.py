"""A slow decoder of one clip, written from FORMAT.md sections 5.1 to 5.4 and from nothing else."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypernet.weights import WeightSpec

Symbols = dict[str, NDArray[np.int32]]

_WORD = 1 << 32
_STATE = 1 << 64


class RangeDecoder:
    def __init__(self, data: bytes) -> None:
        self.words = list(struct.unpack(f"<{len(data) // 4}I", data))
        self.read = 0
        self.low = 0
        self.range = _STATE - 1
        self.point = self._next_word() * _WORD + self._next_word()

    def symbol(self, frequencies: list[int]) -> int:
        unit = self.range >> 24
        q = (self.point - self.low) % _STATE // unit
        assert q < 1 << 24
        ends = list(itertools.accumulate(frequencies))
        s = next(i for i, end in enumerate(ends) if q < end)
        self._take(unit, ends[s] - frequencies[s], frequencies[s])
        return s

    def raw(self, bits: int) -> int:
        if bits == 0:
            return 0
        unit = self.range >> 24
        frequency = 1 << (24 - bits)
        value = (self.point - self.low) % _STATE // unit // frequency
        assert value < 1 << bits
        self._take(unit, value * frequency, frequency)
        return value

    def at_end(self) -> bool:
        return self.read >= len(self.words) and (self.point - self.low) % _STATE < 2 * _WORD - 1

    def _take(self, unit: int, below: int, frequency: int) -> None:
        self.low = (self.low + unit * below) % _STATE
        self.range = unit * frequency
        if self.range < _WORD:
            self.low = self.low * _WORD % _STATE
            self.range *= _WORD
            self.point = self.point * _WORD % _STATE + self._next_word()

    def _next_word(self) -> int:
        word = self.words[self.read] if self.read < len(self.words) else 0
        self.read += 1
        return word


class ClipDecoder:
    def __init__(self, data: bytes, tables_file: Path) -> None:
        self.coder = RangeDecoder(data)
        flat = np.load(tables_file, allow_pickle=False).tolist()
        self.tables = []
        position = 1024
        for support in flat[:1024]:
            half = flat[position : position + support + 1]
            escape = flat[position + support + 1]
            self.tables.append([*half[:0:-1], *half, escape])
            position += support + 2

    def clip(self, specs: tuple[WeightSpec, ...], reference: Symbols | None) -> Symbols:
        symbols: Symbols = {}
        for spec in specs:
            known = None if reference is None else reference.get(spec.name)
            if known is not None and known.shape != spec.shape:
                known = None
            symbols[spec.name] = self.tensor(spec.shape, known)
        assert self.coder.at_end()
        return symbols

    def tensor(
        self, shape: tuple[int, ...], reference: NDArray[np.int32] | None
    ) -> NDArray[np.int32]:
        rows = shape[0]
        residual = self.coder.raw(1) if reference is not None else 0
        centre = self.values([64 * 3 + 35])[0]
        skew = self.values([64 * 3 + 38])[0]
        largest = next(k for k in itertools.count() if 2**k >= rows)
        level = self.coder.raw(largest.bit_length())
        distribution = self.coder.raw(4)
        scales = [self.coder.raw(6)]
        blocks = -(-rows // 2**level)
        scales = self.path(scales, blocks - 1)
        offsets = [0] * (shape[1] if len(shape) > 1 else 1)
        if len(offsets) > 1 and self.coder.raw(1):
            offsets = self.path([0], len(offsets))[1:]
        tables = []
        for position in np.ndindex(shape):
            column = position[1] if len(position) > 1 else 0
            scale = scales[position[0] // 2**level] + offsets[column]
            tables.append(64 * distribution + min(max(scale, 0), 63))
        values = np.array(self.values(tables, skew), dtype=np.int32).reshape(shape) + centre
        return values + reference if residual and reference is not None else values

    def path(self, start: list[int], count: int) -> list[int]:
        if count:
            table = 64 * 3 + self.coder.raw(6)
            for difference in self.values([table] * count):
                start.append(start[-1] + difference)
        return start

    def values(self, tables: list[int], skew: int = 0) -> list[int]:
        values = [0] * len(tables)
        escaped = []
        for table in sorted(set(tables)):
            support = (len(self.tables[table]) - 2) // 2
            frequencies = skewed(self.tables[table], support, skew)
            for position in [i for i, other in enumerate(tables) if other == table]:
                values[position] = self.coder.symbol(frequencies) - support
                if values[position] == support + 1:
                    escaped.append(position)
        heads = {position: self.coder.raw(6) for position in sorted(escaped)}
        for position, head in heads.items():
            length = head % 32
            magnitude = 2 ** (length - 1) + self.coder.raw(length - 1)
            values[position] = -magnitude if head >= 32 else magnitude
        return values


def skewed(frequencies: list[int], support: int, skew: int) -> list[int]:
    result = list(frequencies)
    for v in range(1, support + 1):
        d = frequencies[support + v] * abs(skew) // 8
        gains, loses = (v, -v) if skew > 0 else (-v, v)
        result[support + gains] += d
        result[support + loses] -= d
    return result
