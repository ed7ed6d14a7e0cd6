"""Integer frequency tables of the entropy coder, committed as ``tables.npy``.

A table is a symmetric distribution over ``-A .. A`` plus an escape symbol. Its integer frequencies
sum to 2^24, the precision of the range coder, so no division or rounding is left to a float at run
time. Tables are numbered ``shape * NUM_SCALES + scale``. The file is part of the format: FORMAT.md
gives its hash. ``python -m hypernet.bitstream.tables --write`` made it; running that again on
another machine may round differently, so a released file is never rewritten.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TABLES_PATH = Path(__file__).with_name("tables.npy")
PRECISION = 24
TOTAL = 1 << PRECISION
NUM_SHAPES = 16
NUM_SCALES = 64
NUM_TABLES = NUM_SHAPES * NUM_SCALES
LAPLACE_SHAPE = 3
MAX_SUPPORT = 2047
ESCAPE_HEAD_BITS = 6
SKEW_UNIT = 8
MAX_SKEW = SKEW_UNIT - 1
BUCKET = 1 << 16

_MIN_SUPPORT = 15
_MAX_MEAN = 2.0 ** (25 / 3)
_TAIL = 2.0**-12

Density = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True, slots=True)
class FrequencyTables:
    """The committed tables.

    Attributes:
        halves: per table the frequencies of 0 .. A followed by that of the escape symbol.
    """

    halves: tuple[NDArray[np.uint32], ...]

    def support(self, table: int) -> int:
        """``A``, the largest magnitude that needs no escape."""
        return len(self.halves[table]) - 2

    def frequencies(self, table: int, skew: int = 0) -> NDArray[np.int64]:
        """Frequencies of ``-A .. A`` and of the escape symbol, sum 2^24, shape [2 A + 2].

        Args:
            table: number of the table.
            skew: so many eighths (rounded down) of the frequency of each ``-v`` go to ``v``; if
                negative, from ``v`` to ``-v``. In ``-MAX_SKEW .. MAX_SKEW``.
        """
        half = self.halves[table].astype(np.int64)
        moved = half[1:-1] * abs(skew) // SKEW_UNIT * np.sign(skew)
        return np.concatenate([(half[1:-1] - moved)[::-1], half[:1], half[1:-1] + moved, half[-1:]])


@functools.cache
def load_tables() -> FrequencyTables:
    """The tables of the format, read once."""
    return _parse(np.load(TABLES_PATH, allow_pickle=False))


@dataclass(frozen=True, kw_only=True, slots=True)
class CumulativeTables:
    """All tables, each as ``-A .. A`` then escape, for finding the symbol at a quantile.

    Attributes:
        below: frequencies below each symbol, then their sum 2^24, uint32; table after table.
        starts: where the part of each table begins, then the end, uint32, shape [NUM_TABLES + 1].
        buckets: symbol (counted from 0) at each multiple of ``BUCKET``, then the escape symbol,
            uint16, shape [NUM_TABLES, TOTAL // BUCKET + 1].
    """

    below: NDArray[np.uint32]
    starts: NDArray[np.uint32]
    buckets: NDArray[np.uint16]


@functools.cache
def cumulative_tables() -> CumulativeTables:
    """The tables without skew, computed once."""
    tables = load_tables()
    parts = []
    buckets = np.empty((NUM_TABLES, TOTAL // BUCKET + 1), np.uint16)
    for table in range(NUM_TABLES):
        ends = np.cumsum(tables.frequencies(table))
        parts.append(np.append(0, ends).astype(np.uint32))
        buckets[table, :-1] = np.searchsorted(ends, np.arange(0, TOTAL, BUCKET), side="right")
        buckets[table, -1] = len(ends) - 1
    starts = np.cumsum([0, *map(len, parts)]).astype(np.uint32)
    return CumulativeTables(below=np.concatenate(parts), starts=starts, buckets=buckets)


@functools.cache
def cost_table() -> NDArray[np.float32]:
    """Bits of coding a magnitude with a table, sign included, shape [MAX_SUPPORT + 2, NUM_TABLES].

    Row ``MAX_SUPPORT + 1`` is the escape symbol alone: larger magnitudes add :func:`escape_bits`.
    """
    tables = load_tables()
    magnitudes = np.arange(MAX_SUPPORT + 2)
    costs = np.empty((MAX_SUPPORT + 2, NUM_TABLES))
    for table, half in enumerate(tables.halves):
        bits = PRECISION - np.log2(half.astype(np.float64))
        support = len(half) - 2
        costs[:, table] = bits[-1] + escape_bits(magnitudes)
        costs[: support + 1, table] = bits[:-1]
        costs[-1, table] = bits[-1]
    return costs.astype(np.float32)


def escape_bits(magnitudes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Bits after an escape symbol: sign and bit length, then the bits below the leading one."""
    lengths = np.frexp(magnitudes.astype(np.float64))[1]
    bits: NDArray[np.float64] = ESCAPE_HEAD_BITS + np.maximum(lengths - 1.0, 0.0)
    return bits


def generate_tables() -> NDArray[np.uint32]:
    """Compute the content of the file: A of each table, then for each table its half and escape."""
    means = 2.0 ** ((np.arange(NUM_SCALES) - 38) / 3)
    halves = [
        _frequencies(survival, share, float(mean))
        for survival, share in map(_unit_survival_and_share, _shapes())
        for mean in means
    ]
    supports = np.array([len(half) - 2 for half in halves], dtype=np.uint32)
    return np.concatenate([supports, *halves])


def _parse(flat: NDArray[np.uint32]) -> FrequencyTables:
    ends = NUM_TABLES + np.cumsum(flat[:NUM_TABLES].astype(np.int64) + 2)
    halves = np.split(flat, [NUM_TABLES, *ends[:-1]])[1:]
    return FrequencyTables(halves=tuple(halves))


def _shapes() -> tuple[tuple[Density, float], ...]:
    """Unnormalised densities by shape index, and the share of values that follow them.

    The other values are exactly zero, as in weights that a rate penalty has pruned.
    """

    def generalised_gaussian(exponent: float) -> Density:
        return lambda x: np.exp(-(x**exponent))

    def student_t(freedom: float) -> Density:
        return lambda x: (1 + x**2 / freedom) ** (-(freedom + 1) / 2)

    laplace, gaussian = generalised_gaussian(1.0), generalised_gaussian(2.0)
    return (
        (generalised_gaussian(0.35), 1.0),
        (generalised_gaussian(0.5), 1.0),
        (generalised_gaussian(0.7), 1.0),
        (laplace, 1.0),
        (generalised_gaussian(1.4), 1.0),
        (gaussian, 1.0),
        (generalised_gaussian(3.0), 1.0),
        (generalised_gaussian(6.0), 1.0),
        (student_t(3.0), 1.0),
        (gaussian, 1 / 2),
        (gaussian, 1 / 4),
        (laplace, 1 / 2),
        (laplace, 1 / 4),
        (laplace, 1 / 8),
        (laplace, 1 / 16),
        (laplace, 1 / 32),
    )


Survival = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def _unit_survival_and_share(shape: tuple[Density, float]) -> tuple[Survival, float]:
    return _unit_survival(shape[0]), shape[1]


def _unit_survival(density: Density) -> Survival:
    """P(|x| > z) of a density, from an integral on a logarithmic grid."""
    grid: NDArray[np.float64] = np.append(0.0, np.logspace(-9, 9, 200_001))
    middles = (grid[1:] + grid[:-1]) / 2
    masses = (density(grid[1:]) + density(grid[:-1]) + 4 * density(middles)) / 6 * np.diff(grid)
    above = np.concatenate([np.cumsum(masses[::-1])[::-1], [0.0]])
    return lambda z: np.interp(z, grid, above / above[0])


def _frequencies(survival: Survival, share: float, mean: float) -> NDArray[np.uint32]:
    scale = _scale_for_mean(survival, min(mean / share, _MAX_MEAN))
    edges: NDArray[np.float64] = np.arange(MAX_SUPPORT + 1.0) + 0.5
    above = share * survival(edges / scale)
    support = max(int(np.count_nonzero(above > share * _TAIL)), _MIN_SUPPORT)
    above = above[: min(support, MAX_SUPPORT) + 1]
    # Half of P(|x| = v) for v = 1 .. A; what lies beyond goes to the escape symbol.
    halves = np.maximum(np.floor((above[:-1] - above[1:]) / 2 * TOTAL), 1).astype(np.int64)
    escape = max(1, int(max(above[-1], min(2.0**-14, above[0] / 64)) * TOTAL))
    zero = TOTAL - escape - 2 * int(halves.sum())
    return np.concatenate([[zero], halves, [escape]]).astype(np.uint32)


def _scale_for_mean(survival: Survival, mean: float) -> float:
    """Scale at which the rounded variable has the given mean magnitude (bisection)."""
    edges: NDArray[np.float64] = np.arange(4096.0) + 0.5
    edges = np.append(edges, np.geomspace(4096.5, 1e7, 4096))
    low, high = 1e-6, 1e6
    for _ in range(100):
        scale = math.sqrt(low * high)
        above = survival(edges / scale)
        if above[0] + np.trapezoid(above, edges) - (above[0] - above[-1]) / 2 < mean:
            low = scale
        else:
            high = scale
    return scale


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    np.save(TABLES_PATH, generate_tables(), allow_pickle=False)
