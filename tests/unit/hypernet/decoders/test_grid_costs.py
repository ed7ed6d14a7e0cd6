from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from hypernet.decoders.grid_costs import GridCosts
from hypernet.decoders.learned_coding import encode_clip
from tests.unit.hypernet.predictor.samples import random_symbols, small_model

STEP = 172
SIZE = (6, 8)


def costs_of(reference: Tensor | None) -> GridCosts:
    prior = small_model().prior.requires_grad_(requires_grad=False)
    return GridCosts(prior, STEP, torch.zeros(1, 1, *SIZE), reference)


@pytest.mark.parametrize("is_inter", [False, True])
def test_costs_are_about_what_the_coder_takes(is_inter: bool) -> None:
    prior = small_model().prior.requires_grad_(requires_grad=False)
    grid, before = (random_symbols((1, 64, 24, 32), seed, 0.8) for seed in (1, 2))
    costs = GridCosts(prior, STEP, torch.zeros(1, 1, 24, 32), before if is_inter else None)
    zeros = {
        "motion": np.zeros((6, 12, 16), np.int32),
        "sway": np.zeros((10, 3, 4), np.int32),
        "gate": np.zeros((1, 24, 32), np.int32),
    }
    symbols = {**zeros, "grid": grid[0].int().numpy()}
    reference = {**zeros, "grid": before[0].int().numpy()} if is_inter else None
    coded = 8 * len(encode_clip(prior, STEP, symbols, reference))
    # The clip's own tables correct an untrained prior, so it is an upper bound.
    assert coded <= costs.bits(grid) * 1.02 + 600
    assert coded >= costs.bits(grid) * 0.5


def test_the_cheapest_grid_is_never_dearer_than_rounding() -> None:
    costs, price = costs_of(None), 4.0
    wanted = torch.randn(1, 64, *SIZE, generator=torch.Generator().manual_seed(3))
    rounded = wanted.round()
    cheap = costs.cheapest(wanted, rounded, price)
    assert torch.equal(cheap, cheap.round())
    assert float(cheap.abs().sum()) < float(rounded.abs().sum())

    def total(grid: Tensor) -> float:
        return price * float((grid - wanted).square().sum()) + costs.bits(grid)

    assert total(cheap) < total(rounded)


def test_a_high_price_of_errors_rounds_and_a_low_one_drops_all() -> None:
    costs = costs_of(random_symbols((1, 64, *SIZE), 5))
    wanted = 3 * torch.randn(1, 64, *SIZE, generator=torch.Generator().manual_seed(4))
    assert torch.equal(costs.cheapest(wanted, wanted.round(), 1e6), wanted.round())
    assert not costs.cheapest(wanted, wanted.round(), 0.0).any()
