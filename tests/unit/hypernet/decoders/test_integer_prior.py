from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hypernet.decoders.integer_layers import IntegerConvolution
from hypernet.decoders.integer_prior import (
    NUM_TABLES,
    STEP_GAIN,
    IntegerPrior,
    PriorConfig,
    even_cells,
    neighbour_mean,
    table_scale,
)
from tests.unit.hypernet.predictor.samples import SMALL, random_symbols

STEP = PriorConfig().step_weights(torch.tensor([170]))
INTER = torch.ones(1)


def _prior(config: PriorConfig = SMALL.prior, seed: int = 0) -> IntegerPrior:
    torch.manual_seed(seed)
    return IntegerPrior(config).requires_grad_(requires_grad=False)


def _predict(prior: IntegerPrior, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    grid = random_symbols((1, prior.config.grid_channels, 7, 9), 2, 0.7).to(dtype)
    gate = random_symbols((1, 1, 7, 9), 1).to(dtype).clamp(0, 1)
    context = prior.context(STEP.to(dtype), gate, -grid, INTER.to(dtype))
    first, middle, _ = prior.split(grid)
    flags = prior.flags(grid)
    return (
        prior.first_tables(context, first),
        prior.flag_levels(context, first, flags),
        prior.middle_tables(context, first, flags),
        prior.last_tables(context, first, flags, middle),
    )


@pytest.mark.parametrize("config", [SMALL.prior, PriorConfig()])
def test_float32_computes_the_integers_exactly(config: PriorConfig) -> None:
    prior = _prior(config)
    single = _predict(prior)
    double = _predict(prior.double(), torch.float64)
    for one, two in zip(single, double, strict=True):
        assert torch.equal(one.double(), two)
        assert torch.equal(two, two.round())
        assert 0 <= int(two.min()) <= int(two.max()) < NUM_TABLES


def test_threads_do_not_change_the_integers() -> None:
    prior = _prior(PriorConfig())
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = _predict(prior)
        torch.set_num_threads(2)
        two = _predict(prior)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("table", [20, 38, 50])
def test_a_table_scale_gives_the_mean_magnitude_that_defines_the_table(table: int) -> None:
    scale = float(table_scale(torch.tensor(float(table))))
    magnitudes = range(1, 2000)
    mean = sum(
        k * (math.exp(-(k - 0.5) / scale) - math.exp(-(k + 0.5) / scale)) for k in magnitudes
    )
    assert mean == pytest.approx(2 ** ((table - 38) / 3), rel=1e-3)


def test_symbols_of_odd_cells_change_no_prediction_of_their_half() -> None:
    prior = _prior()
    grid = random_symbols((1, 64, 6, 6), 5)
    context = prior.context(STEP, torch.zeros(1, 1, 6, 6), grid * 0, INTER)
    first, _, _ = prior.split(grid)
    flags = prior.flags(grid)
    odd = ~even_cells(first)
    tables = prior.first_tables(context, first)
    assert torch.equal(tables, prior.first_tables(context, first + 9 * odd))
    assert not torch.equal(tables, prior.first_tables(context, first + 9))
    levels = prior.flag_levels(context, first, flags)
    assert torch.equal(
        levels, prior.flag_levels(context, first, torch.where(odd, 1 - flags, flags))
    )


def test_flags_say_which_groups_hold_anything() -> None:
    prior = _prior()
    grid = torch.zeros(1, 64, 2, 2)
    grid[0, 9, 0, 0], grid[0, 63, 1, 1], grid[0, 3, 0, 1] = -4, 1, 7
    flags = prior.flags(grid)
    assert flags[0, :, 0, 0].tolist() == [1, 0, 0, 0]
    assert flags[0, :, 1, 1].tolist() == [0, 0, 0, 1]
    assert int(flags.sum()) == 2
    assert prior.spread(flags[:, :2], (8, 8))[0, :, 0, 0].tolist() == [1] * 8 + [0] * 8


def test_neighbours_are_averaged_in_integers() -> None:
    means = torch.tensor([[[[1.0, 2.0, 4.0], [8.0, 0.0, -3.0]]]])
    assert neighbour_mean(means)[0, 0].tolist() == [[5, 2, 0], [1, 2, 2]]
    assert neighbour_mean(torch.ones(1, 1, 1, 1)).tolist() == [[[[0]]]]


def test_integers_survive_storage() -> None:
    prior, other = _prior(seed=0), _prior(seed=1)
    stored = prior.integers()
    assert {value.dtype for value in stored.values()} == {torch.int8, torch.int32}
    other.load_integers(stored)
    for one, two in zip(_predict(prior), _predict(other), strict=True):
        assert torch.equal(one, two)


def test_accumulators_that_could_overflow_are_refused() -> None:
    layer = IntegerConvolution(2048, 1, 3)
    with torch.no_grad():
        layer.weight.fill_(10.0)
    with pytest.raises(ValueError, match="below 2"):
        layer.integers()


def test_groups_hold_something() -> None:
    with pytest.raises(ValueError, match="empty"):
        PriorConfig(middle=(8, 0))


def test_step_weights_are_integers_between_knots() -> None:
    weights = PriorConfig(coarsest_step=158, finest_step=136).step_weights(
        torch.tensor([200, 158, 150, 136, 100])
    )
    assert torch.equal(weights.sum(1), torch.full((5,), float(STEP_GAIN)))
    assert weights[0].tolist() == weights[1].tolist() == [64, 0, 0, 0]
    assert weights[3].tolist() == weights[4].tolist() == [0, 0, 0, 64]
    assert torch.equal(weights, weights.round())
