from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypernet.bitstream.steps import NUM_STEPS, nearest_step_index, step_size


def test_the_grid_is_pinned() -> None:
    assert step_size(0) == 2.0**-22
    assert step_size(176) == 1.0
    assert step_size(180) == float.fromhex("0x1.6a09e6p+0")
    assert step_size(255) == float.fromhex("0x1.d5818ep+9")


def test_every_step_is_exact_in_float32_and_an_eighth_of_an_octave_apart() -> None:
    steps = [step_size(index) for index in range(NUM_STEPS)]
    assert all(float(np.float32(step)) == step for step in steps)
    ratios = np.array(steps[1:]) / np.array(steps[:-1])
    np.testing.assert_allclose(ratios, 2 ** (1 / 8), rtol=2e-7)


@pytest.mark.parametrize("index", [-1, 256])
def test_indices_outside_the_grid_are_refused(index: int) -> None:
    with pytest.raises(ValueError, match="step index"):
        step_size(index)


def test_every_step_finds_its_index() -> None:
    assert [nearest_step_index(step_size(index)) for index in range(NUM_STEPS)] == list(range(256))


@given(st.floats(1e-12, 1e12))
def test_the_nearest_step_is_within_half_a_grid_step_or_at_the_end(step: float) -> None:
    index = nearest_step_index(step)
    if 0 < index < NUM_STEPS - 1:
        assert abs(math.log2(step / step_size(index))) <= 1 / 16 + 1e-6


@pytest.mark.parametrize("step", [0.0, -1.0, math.inf, math.nan])
def test_what_is_no_step_is_refused(step: float) -> None:
    with pytest.raises(ValueError, match="not a positive number"):
        nearest_step_index(step)
