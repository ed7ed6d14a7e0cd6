from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hypernet.bitstream.steps import NUM_STEPS, step_size
from hypernet.errors import EncodeFailed
from hypernet.quantization import dequantize, quantize
from hypernet.weights import WeightSpec

SPECS = (
    WeightSpec(name="kernel", shape=(3, 4), init_std=0.1),
    WeightSpec(name="bias", shape=(5,), init_std=0.0),
)
STEP_INDEX = st.integers(0, NUM_STEPS - 1)


def integers(shape: tuple[int, ...]) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.int32, shape, elements=st.integers(-(2**20), 2**20))


@settings(deadline=None)
@given(kernel=integers((3, 4)), bias=integers((5,)), steps=st.tuples(STEP_INDEX, STEP_INDEX))
def test_integers_survive_exactly(
    kernel: np.ndarray, bias: np.ndarray, steps: tuple[int, int]
) -> None:
    symbols = {"kernel": kernel, "bias": bias}
    again = quantize(SPECS, dequantize(SPECS, symbols, steps), steps)
    assert all(np.array_equal(again[name], symbols[name]) for name in symbols)
    assert all(values.dtype == np.int32 for values in again.values())


@settings(deadline=None)
@given(STEP_INDEX)
def test_weights_are_integers_times_the_step(index: int) -> None:
    symbols = {"kernel": np.arange(12, dtype=np.int32).reshape(3, 4), "bias": np.zeros(5, np.int32)}
    weights = dequantize(SPECS, symbols, (index, 0))
    expected = np.arange(12, dtype=np.float32).reshape(3, 4) * np.float32(step_size(index))
    assert weights["kernel"].dtype == torch.float32
    assert np.array_equal(weights["kernel"].numpy(), expected)


def test_the_nearest_integer_is_taken() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {spec.name: torch.randn(spec.shape, generator=generator) for spec in SPECS}
    indices = (150, 170)
    rounded = dequantize(SPECS, quantize(SPECS, weights, indices), indices)
    for spec, index in zip(SPECS, indices, strict=True):
        error = (rounded[spec.name] - weights[spec.name]).abs().max().item()
        assert 0 < error <= step_size(index) / 2 * (1 + 1e-6)


def test_trainable_weights_are_taken_as_they_are() -> None:
    weights = {s.name: torch.ones(s.shape, requires_grad=True) for s in SPECS}
    symbols = quantize(SPECS, weights, (176, 176))  # a step of one
    assert all((values == 1).all() for values in symbols.values())


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -(2.0**24), 1e12])
def test_weights_that_no_symbol_can_hold_are_refused(value: float) -> None:
    weights = {spec.name: torch.ones(spec.shape) for spec in SPECS}
    weights["bias"][3] = value
    with pytest.raises(EncodeFailed, match="bias: a weight is not within"):
        quantize(SPECS, weights, (176, 176))
