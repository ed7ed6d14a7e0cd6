from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import torch

from hypernet.native import library
from hypernet.packed_integers import Integers, PackedIntegers


def integers(zeros: float, shape: tuple[int, ...] = (3, 50, 7)) -> Integers:
    generator = np.random.default_rng(0)
    symbols = generator.integers(-900, 900, shape).astype(np.int32)
    symbols[generator.random(symbols.shape) < zeros] = 0
    return symbols


@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.9, 0.99, 1.0])
def test_packed_integers_are_scaled_and_whole(zeros: float) -> None:
    symbols = integers(zeros)
    packed = PackedIntegers.pack(symbols)
    assert (packed.places is not None) == (zeros >= 0.9)
    unpacked = packed.unpack(0.5, torch.device("cpu"))
    assert torch.equal(unpacked, torch.from_numpy(symbols) * 0.5)
    places, values = packed.sparse()
    assert np.array_equal(places, np.flatnonzero(symbols))
    assert np.array_equal(values, symbols.ravel()[places])


@pytest.mark.parametrize("shape", [(0,), (1,), (63,), (65, 1), (2, 3, 100)])
def test_kernels_find_what_numpy_finds(shape: tuple[int, ...]) -> None:
    for symbols in (integers(0.9, shape), integers(0.9, (*shape, 2))[..., 0]):
        found = PackedIntegers.pack(symbols)
        with mock.patch.object(library, "kernels", return_value=None):
            expected = PackedIntegers.pack(symbols)
        assert np.array_equal(found.values, expected.values)
        assert (found.places is None) == (expected.places is None)
        if found.places is not None and expected.places is not None:
            assert np.array_equal(found.places, expected.places)
