from __future__ import annotations

import numpy as np
import pytest

from hypernet.decoders.neighbours import from_neighbours, onto_neighbours


@pytest.mark.parametrize("shape", [(6, 15, 27), (2, 1, 5), (1, 4, 1), (3, 1, 1), (2, 2, 7)])
def test_values_come_back(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).integers(-(1 << 20), 1 << 20, shape, dtype=np.int32)
    np.testing.assert_array_equal(onto_neighbours(from_neighbours(values)), values)


def test_edges_and_planes_are_expected() -> None:
    edge = np.where(np.arange(6) < 3, 5, 40).astype(np.int32)
    upright = np.broadcast_to(edge, (1, 4, 6)).copy()
    assert np.count_nonzero(from_neighbours(upright)) == 2
    assert np.count_nonzero(from_neighbours(upright.transpose(0, 2, 1).copy())) == 2


def test_a_value_between_its_neighbours_follows_the_plane() -> None:
    values = np.array([[[3, 5], [7, 9]]], np.int32)
    assert from_neighbours(values)[0, 1, 1] == 9 - 7  # 7 + 5 - 3 is beyond 7
    values = np.array([[[6, 5], [7, 6]]], np.int32)
    assert from_neighbours(values)[0, 1, 1] == 0
