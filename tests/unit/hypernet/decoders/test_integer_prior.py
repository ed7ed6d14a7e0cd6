from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hypernet.decoders.integer_prior import (
    NUM_TABLES,
    STEP_GAIN,
    IntegerConvolution,
    IntegerPrior,
    PriorConfig,
    table_scale,
)
from tests.unit.hypernet.predictor.samples import SMALL, random_symbols

STEP = PriorConfig().step_weights(torch.tensor([147]))
INTER = torch.ones(1)


def _prior(config: PriorConfig = SMALL.prior, seed: int = 0) -> IntegerPrior:
    torch.manual_seed(seed)
    return IntegerPrior(config).requires_grad_(requires_grad=False)


def _predict(prior: IntegerPrior, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    config = prior.config
    tiles = random_symbols((1, config.tile_channels, 2, 3), 1).to(dtype)
    grid = random_symbols((1, config.grid_channels, 7, 9), 2).to(dtype)
    at_tiles = prior.tiles(STEP.to(dtype), tiles, INTER.to(dtype))
    at_grid = prior.grid(STEP.to(dtype), tiles, grid, -grid, INTER.to(dtype))
    return at_tiles.mean, at_tiles.table, at_grid.mean, at_grid.table


@pytest.mark.parametrize("config", [SMALL.prior, PriorConfig()])
def test_float32_computes_the_integers_exactly(config: PriorConfig) -> None:
    prior = _prior(config)
    single = _predict(prior)
    double = _predict(prior.double(), torch.float64)
    for one, two in zip(single, double, strict=True):
        assert torch.equal(one.double(), two)
        assert torch.equal(two, two.round())


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


def test_tables_are_indices_of_the_committed_scales() -> None:
    *_, tables = _predict(_prior())
    assert 0 <= int(tables.min()) < int(tables.max()) < NUM_TABLES


@pytest.mark.parametrize("table", [20, 38, 50])
def test_a_table_scale_gives_the_mean_magnitude_that_defines_the_table(table: int) -> None:
    scale = float(table_scale(torch.tensor(float(table))))
    magnitudes = range(1, 2000)
    mean = sum(
        k * (math.exp(-(k - 0.5) / scale) - math.exp(-(k + 0.5) / scale)) for k in magnitudes
    )
    assert mean == pytest.approx(2 ** ((table - 38) / 3), rel=1e-3)


def test_later_symbols_do_not_change_earlier_predictions() -> None:
    prior = _prior()
    grid = random_symbols((1, 24, 6, 6), 5)
    reference = random_symbols((1, 24, 6, 6), 6)
    context = prior.context(STEP, random_symbols((1, 8, 2, 2), 7), reference, INTER)
    for index in range(len(prior.stages)):
        changed = grid.clone()
        changed[:, prior.channels(index).start if index > 1 else 0 :] += 9
        if index == 1:
            rows, columns = torch.meshgrid(torch.arange(6), torch.arange(6), indexing="ij")
            changed[:, :, (rows + columns) % 2 == 0] = grid[:, :, (rows + columns) % 2 == 0]
            changed[:, 8:] = grid[:, 8:] + 9
        before = prior.stage(index, context, grid, reference)
        after = prior.stage(index, context, changed, reference)
        assert torch.equal(before.mean, after.mean)
        assert torch.equal(before.table, after.table)


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


def test_rounding_passes_gradients() -> None:
    torch.manual_seed(0)
    prior = IntegerPrior(SMALL.prior)
    grid = random_symbols((1, 24, 4, 4), 3).requires_grad_()
    tiles = random_symbols((1, 8, 1, 1), 4).requires_grad_()
    prediction = prior.grid(STEP, tiles, grid, torch.zeros(1, 24, 4, 4), INTER * 0)
    (prediction.table.sum() + prediction.mean.sum()).backward()  # type: ignore[no-untyped-call]
    assert grid.grad is not None
    assert tiles.grad is not None
    assert float(grid.grad[:, :8].abs().sum()) > 0
    assert float(tiles.grad.abs().sum()) > 0


def test_groups_must_cover_the_channels() -> None:
    with pytest.raises(ValueError, match="do not add up"):
        PriorConfig(grid_channels=24, groups=(8, 8))


def test_step_weights_are_integers_between_knots() -> None:
    weights = PriorConfig(coarsest_step=158, finest_step=136).step_weights(
        torch.tensor([200, 158, 150, 136, 100])
    )
    assert torch.equal(weights.sum(1), torch.full((5,), float(STEP_GAIN)))
    assert weights[0].tolist() == weights[1].tolist() == [64, 0, 0, 0]
    assert weights[3].tolist() == weights[4].tolist() == [0, 0, 0, 64]
    assert torch.equal(weights, weights.round())
