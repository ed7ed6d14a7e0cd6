"""What coding costs, exactly, for every table at once.

Costs are multiples of 2^-10 bit held in float64. Their sums are exact, so decisions built on them
do not depend on the number of threads or the order of summation.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from hypernet.bitstream.entropy import Symbols
from hypernet.bitstream.tables import (
    LAPLACE_SHAPE,
    MAX_SKEW,
    MAX_SUPPORT,
    NUM_SCALES,
    SKEW_UNIT,
    cost_table,
    escape_bits,
)

COST_UNIT = 1024.0
"""Costs per bit."""

FAR = MAX_SUPPORT + 1
"""Magnitude that stands for all that no table reaches."""

DELTA_SHAPE = LAPLACE_SHAPE
"""Distribution shape of differences between neighbouring scales."""

Costs = NDArray[np.float64]
Indices = NDArray[np.int64]


@functools.cache
def table_costs() -> Costs:
    """Cost of a magnitude with a table, shape [MAX_SUPPORT + 2, NUM_TABLES]."""
    costs: Costs = np.rint(cost_table().astype(np.float64) * COST_UNIT)
    return costs


def shape_costs(shape: int) -> Costs:
    """Cost of a magnitude with each scale of one shape, [MAX_SUPPORT + 2, NUM_SCALES]."""
    return table_costs()[:, shape * NUM_SCALES : (shape + 1) * NUM_SCALES]


def delta_costs(deltas: Indices) -> Costs:
    """Cost of differences between scales, per table that may code them: [..., NUM_SCALES]."""
    return shape_costs(DELTA_SHAPE)[np.abs(deltas)]


def skew_costs(values: Symbols) -> Costs:
    """What each skew adds to the cost of values, shape [2 * MAX_SKEW + 1], skews ascending.

    Exact but for frequencies so small that an eighth of them is rounded.
    """
    positive, negative = np.count_nonzero(values > 0), np.count_nonzero(values < 0)
    shares = np.arange(-MAX_SKEW, MAX_SKEW + 1) / SKEW_UNIT
    bits = positive * np.log2(1 + shares) + negative * np.log2(1 - shares)
    costs: Costs = -np.rint(bits * COST_UNIT)
    return costs


def scalar_bits(value: int, scale: int) -> float:
    """Bits of one integer coded with a Laplace table of the given scale."""
    magnitude = np.array([abs(value)])
    cost = float(shape_costs(LAPLACE_SHAPE)[min(abs(value), FAR), scale]) / COST_UNIT
    return cost + (float(escape_bits(magnitude)[0]) if abs(value) >= FAR else 0.0)


class Magnitudes:
    """Magnitudes of a tensor as [row, column, rest], ready to be counted.

    Attributes:
        rows: length of axis 0.
        columns: length of axis 1, 1 if there is none.
        row_size: values per row.
        constant_bits: what the values cost whichever tables are chosen.
    """

    def __init__(self, values: Symbols) -> None:
        self.rows = values.shape[0]
        self.columns = values.shape[1] if values.ndim > 1 else 1
        self.row_size = values.size // self.rows
        magnitudes = np.abs(values).reshape(self.rows, self.columns, -1)
        far = magnitudes[magnitudes > MAX_SUPPORT]
        self.constant_bits = float(escape_bits(far).sum())
        self._width = min(int(magnitudes.max()), FAR) + 1
        self._clipped_RCK = np.minimum(magnitudes, self._width - 1)

    def block_costs(self, level: int) -> Costs:
        """Cost per block of 2^level rows and table: [blocks, NUM_TABLES]."""
        blocks = np.arange(self.rows) >> level
        counts = self._count(self._clipped_RCK, blocks[:, None, None])
        return counts @ table_costs()[: self._width]

    def block_costs_given_columns(self, level: int, shape: int, offsets: Indices) -> Costs:
        """Cost per block and scale of one shape when each column adds its offset to the scale."""
        blocks = np.arange(self.rows) >> level
        costs = np.zeros((int(blocks[-1]) + 1, NUM_SCALES))
        for offset in np.unique(offsets):
            counts = self._count(self._clipped_RCK[:, offsets == offset], blocks[:, None, None])
            scales = np.clip(np.arange(NUM_SCALES) + offset, 0, NUM_SCALES - 1)
            costs += counts @ shape_costs(shape)[: self._width, scales]
        return costs

    def column_costs(self, shape: int, row_scales: Indices, offsets: Indices) -> Costs:
        """Cost per column and candidate offset, given the scale of each row: [columns, offsets]."""
        columns = np.arange(self.columns)
        costs = np.zeros((self.columns, len(offsets)))
        for scale in np.unique(row_scales):
            counts = self._count(self._clipped_RCK[row_scales == scale], columns[:, None])
            scales = np.clip(scale + offsets, 0, NUM_SCALES - 1)
            costs += counts @ shape_costs(shape)[: self._width, scales]
        return costs

    def _count(self, clipped: Symbols, groups: Indices) -> Costs:
        num_groups = int(groups.max()) + 1
        cells = clipped + groups * self._width
        counts = np.bincount(cells.ravel(), minlength=num_groups * self._width)
        return counts.reshape(num_groups, self._width).astype(np.float64)
