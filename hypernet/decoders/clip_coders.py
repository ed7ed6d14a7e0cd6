"""The two sides of a clip's range coder stream: what codes values, and what finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hypernet.bitstream.entropy import SymbolDecoder, SymbolEncoder
from hypernet.bitstream.flags import flag_bits
from hypernet.bitstream.tables import LAPLACE_SHAPE, NUM_SCALES, cost_table
from hypernet.errors import InvalidStream

SCALE_BITS = 6
TABLE_BITS = 10
LEVEL_BITS = 6
FIRST_TABLE = LAPLACE_SHAPE * NUM_SCALES
MAX_SYMBOL = 1 << 20
"""Beyond this float32 convolutions of symbols would no longer be exact integers."""

IntArray = NDArray[np.int32]


class Coder(Protocol):
    """One side of the exchange: an encoder is given the values, a decoder finds them."""

    def presence(self, symbols: IntArray, starts: IntArray) -> IntArray:
        """Per cell whether each group of rows, by its first row, holds anything; if known."""
        ...

    def rows(self, values: IntArray) -> IntArray:
        """Rows ``(C, N)``, each with one table of its own."""
        ...

    def flags(self, values: IntArray, levels: NDArray[np.uint16] | None = None) -> IntArray:
        """Zeros and ones; without levels, one level for all."""
        ...

    def symbols(self, values: IntArray, tables: NDArray[np.uint16]) -> IntArray:
        """Symbols, each with the clip's own version of its table."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipTables:
    """The clip's own table for each table of the prior between ``first`` and ``last``."""

    first: int
    last: int
    tables: NDArray[np.uint16]


class _Given:
    """What both kinds of encoder do with values."""

    def presence(self, symbols: IntArray, starts: IntArray) -> IntArray:
        """See ``Coder``."""
        return np.logical_or.reduceat(symbols != 0, starts, axis=0).astype(np.int32)


class Survey(_Given):
    """Collects what would be coded with which table."""

    def __init__(self) -> None:
        self._seen: list[tuple[IntArray, NDArray[np.uint16]]] = []

    def rows(self, values: IntArray) -> IntArray:
        """See ``Coder``."""
        return values

    def flags(
        self,
        values: IntArray,
        levels: NDArray[np.uint16] | None = None,  # noqa: ARG002 - part of the protocol
    ) -> IntArray:
        """See ``Coder``."""
        return values

    def symbols(self, values: IntArray, tables: NDArray[np.uint16]) -> IntArray:
        """See ``Coder``."""
        self._seen.append((values, tables))
        return values

    def best_tables(self) -> ClipTables:
        """What codes the clip in fewest bits."""
        costs = cost_table()
        sizes = np.concatenate([_sizes(values) for values, _ in self._seen])
        tables = np.concatenate([tables for _, tables in self._seen])
        counts = np.bincount(tables * np.int64(len(costs)) + sizes, minlength=1)
        best = _own_tables()
        for table in range(int(tables.min()), int(tables.max()) + 1):
            # What is beyond the end counts as nothing.
            seen = np.trim_zeros(counts[table * len(costs) : (table + 1) * len(costs)], "b")
            if seen.size:
                best[table] = np.argmin(seen @ costs[: len(seen)])
        return ClipTables(first=int(tables.min()), last=int(tables.max()), tables=best)


class Writer(_Given):
    """Writes to a range coder stream."""

    def __init__(self, tables: ClipTables) -> None:
        self.encoder = SymbolEncoder()
        self._tables = tables.tables
        self.encoder.encode_bits(tables.first, SCALE_BITS)
        self.encoder.encode_bits(tables.last, SCALE_BITS)
        for table in tables.tables[tables.first : tables.last + 1]:
            self.encoder.encode_bits(int(table), TABLE_BITS)

    def rows(self, values: IntArray) -> IntArray:
        """See ``Coder``."""
        costs = cost_table()
        for row in values:
            counts = np.bincount(_sizes(row))
            table = int(np.argmin(counts @ costs[: len(counts)]))
            self.encoder.encode_bits(table, TABLE_BITS)
            self.encoder.encode(row, table)
        return values

    def flags(self, values: IntArray, levels: NDArray[np.uint16] | None = None) -> IntArray:
        """See ``Coder``."""
        if levels is None:
            ones = np.array([values.size - values.sum(), values.sum()])
            level = int(np.argmin(flag_bits() @ ones))
            self.encoder.encode_bits(level, LEVEL_BITS)
            levels = np.full(values.size, level, np.uint16)
        self.encoder.encode_flags(values, levels)
        return values

    def symbols(self, values: IntArray, tables: NDArray[np.uint16]) -> IntArray:
        """See ``Coder``."""
        self.encoder.encode(values, self._tables[tables])
        return values


class Reader:
    """Reads what ``Writer`` wrote; of the values it is given only the shapes count."""

    def __init__(self, decoder: SymbolDecoder) -> None:
        self.decoder = decoder
        first, last = decoder.decode_bits(SCALE_BITS), decoder.decode_bits(SCALE_BITS)
        self._tables = _own_tables()
        for table in range(first, last + 1):
            self._tables[table] = decoder.decode_bits(TABLE_BITS)

    def presence(self, symbols: IntArray, starts: IntArray) -> IntArray:
        """See ``Coder``."""
        return np.zeros((len(starts), *symbols.shape[1:]), np.int32)

    def rows(self, values: IntArray) -> IntArray:
        """See ``Coder``."""
        rows = [
            self.decoder.decode(self.decoder.decode_bits(TABLE_BITS), row.size) for row in values
        ]
        return np.stack(rows)

    def flags(self, values: IntArray, levels: NDArray[np.uint16] | None = None) -> IntArray:
        """See ``Coder``."""
        if levels is None:
            levels = np.full(values.size, self.decoder.decode_bits(LEVEL_BITS), np.uint16)
        return self.decoder.decode_flags(levels)

    def symbols(self, values: IntArray, tables: NDArray[np.uint16]) -> IntArray:
        """See ``Coder``."""
        found = self.decoder.decode(self._tables[tables], values.size)
        if exceeds(found):
            raise InvalidStream(f"a symbol exceeds {MAX_SYMBOL}")
        return found


def _sizes(values: IntArray) -> IntArray:
    """Rows of the cost table."""
    return np.minimum(np.abs(values), len(cost_table()) - 1)


def _own_tables() -> NDArray[np.uint16]:
    return np.arange(NUM_SCALES, dtype=np.uint16) + np.uint16(FIRST_TABLE)


def exceeds(values: NDArray[np.int64] | IntArray) -> bool:
    """Whether any value is too large for float32 convolutions of symbols to be exact."""
    # Not by magnitude: the smallest integer has none.
    return bool(values.size) and bool(values.max() > MAX_SYMBOL or values.min() < -MAX_SYMBOL)
