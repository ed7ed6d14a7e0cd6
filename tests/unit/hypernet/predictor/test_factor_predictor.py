from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from hypernet.decoders.hyponet_layers import TileRenderer
from hypernet.predictor.factor_predictor import FactorModelConfig, FactorPredictor
from tests.unit.hypernet.predictor.factor_samples import HYPONET, SMALL, small_factor_model

TIMES = torch.arange(8.0)


def test_factors_have_the_shapes_that_the_hyponet_asks_for() -> None:
    factors = small_factor_model()(torch.rand(2, 8, 3, 32, 32))
    shapes = {number: tuple(value.shape) for number, value in factors.items()}
    assert shapes == {0: (2, 3, 8), 1: (2, 12, 33), 2: (2, 4, 27)}


def test_a_token_carries_the_factors_of_one_input() -> None:
    tokens = torch.randn(2, 33, 12, generator=torch.Generator().manual_seed(0))
    factors = small_factor_model()._factors(1, tokens)
    assert factors.shape == (2, 12, 33)
    assert torch.equal(factors[0, :, 5], tokens[0, 5])


def test_a_tile_is_predicted_alike_alone_and_in_a_batch() -> None:
    model = small_factor_model()
    tiles = torch.rand(3, 8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    together, alone = model(tiles), model(tiles[1:2])
    for number, value in alone.items():
        torch.testing.assert_close(value[0], together[number][1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"patch": 12}, "patches of 12"),
        ({"tokens": (1, 33, 2)}, "3 layers of 4"),
        ({"tokens": (1, 33, 0, 0)}, "0 tokens cannot carry"),
        ({"tokens": (1, 33, 2, 1)}, "1 tokens cannot carry 0"),
        ({"tokens": (1, 35, 2, 0)}, "35 tokens cannot carry 396"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        replace(SMALL, **change)


def test_allocations_are_configurations() -> None:
    uniform = replace(
        SMALL, decoder=replace(HYPONET, factor_rows=(4, 4, 4, 4)), tokens=(4, 4, 4, 4)
    )
    one_layer = replace(
        SMALL, decoder=replace(HYPONET, factor_rows=(0, 12, 0, 0)), tokens=(0, 33, 0, 0)
    )
    for config in (uniform, one_layer):
        model = FactorPredictor(config)
        factors = model(torch.rand(1, 8, 3, 32, 32))
        shown = TileRenderer(config.decoder.layers(), model.base(), factors).frames(TIMES)
        assert shown.shape == (1, 8, 3, 32, 32)
        assert isinstance(config, FactorModelConfig)
