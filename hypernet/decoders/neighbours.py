"""Integers as differences to what their neighbours let expect: the predictor of LOCO-I.

What is expected follows the left or the upper neighbour where the third says that an edge runs
between them, and the plane through all three elsewhere (Weinberger, Seroussi, Sapiro 2000).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def from_neighbours(values_CHW: NDArray[np.int32]) -> NDArray[np.int32]:
    """Differences of values, at most 2**29 in size, to what is expected; int32."""
    values = values_CHW.astype(np.int64)
    expected = np.zeros_like(values)
    expected[:, 0, 1:] = values[:, 0, :-1]
    expected[:, 1:, 0] = values[:, :-1, 0]
    expected[:, 1:, 1:] = _expected(values[:, 1:, :-1], values[:, :-1, 1:], values[:, :-1, :-1])
    return (values - expected).astype(np.int32)


def onto_neighbours(differences_CHW: NDArray[np.int32]) -> Integers:
    """The inverse, int64, of any differences."""
    values = differences_CHW.astype(np.int64)
    values[:, 0] = np.cumsum(values[:, 0], axis=1)
    values[:, :, 0] = np.cumsum(values[:, :, 0], axis=1)
    _, height, width = values.shape
    # Values on a diagonal do not need each other.
    for diagonal in range(2, height + width - 1):
        rows = np.arange(max(1, diagonal - width + 1), min(height, diagonal))
        columns = diagonal - rows
        values[:, rows, columns] += _expected(
            values[:, rows, columns - 1],
            values[:, rows - 1, columns],
            values[:, rows - 1, columns - 1],
        )
    return values


def _expected(left: Integers, above: Integers, corner: Integers) -> Integers:
    low, high = np.minimum(left, above), np.maximum(left, above)
    expected: Integers = np.clip(left + above - corner, low, high)
    return expected
