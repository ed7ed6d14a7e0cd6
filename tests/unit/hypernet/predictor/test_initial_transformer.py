from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hypernet.decoders.hyponet_layers import TileRenderer
from hypernet.decoders.spectrum import cosines
from hypernet.predictor.factor_predictor import FactorModelConfig
from hypernet.predictor.initial_hyponet import coloured, transform_of
from tests.unit.hypernet.predictor.factor_samples import HYPONET, SMALL, small_factor_model

TIMES = torch.arange(8.0)


def _tiles() -> Tensor:
    """Blurred noise that fades into other noise, ``(6, 8, 3, 32, 32)``."""
    noise = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    ends = F.interpolate(noise, size=(32, 32), mode="bicubic").clamp(0.1, 0.9)
    share = ((TIMES + 0.5) / 8)[:, None, None, None]
    return ends[:6, None] * (1 - share) + ends[6:, None] * share


def _shown(config: FactorModelConfig, tiles: Tensor) -> Tensor:
    model = small_factor_model(config)
    with torch.no_grad():
        renderer = TileRenderer(config.decoder.layers(), model.base(), model(tiles))
        return renderer.frames(TIMES)


def _transformed(tiles: Tensor) -> Tensor:
    """What the lowest cosines of blocks and of the time hold."""
    transform = transform_of(HYPONET)
    assert transform is not None
    patterns, waves = coloured(transform.patterns, transform.side), cosines(8)[: transform.modes]
    maps = F.conv2d(tiles.flatten(0, 1) - 0.5, patterns, stride=transform.side)
    maps = torch.einsum("ms,mt,btkyx->bskyx", waves, waves, torch.unflatten(maps, 0, (-1, 8)))
    shown = F.conv_transpose2d(maps.flatten(0, 1), patterns, stride=transform.side)
    return torch.unflatten(shown, 0, (-1, 8)) + 0.5


def test_a_new_model_shows_what_the_transform_keeps() -> None:
    tiles = _tiles()
    shown, kept = _shown(SMALL, tiles), _transformed(tiles)
    contrast = float((kept - 0.5).square().mean().sqrt())
    assert float((shown - kept).square().mean().sqrt()) < 0.2 * contrast


def test_a_whole_frame_starts_alike() -> None:
    whole = replace(SMALL, decoder=replace(HYPONET, whole_frame=1))
    tiles = _tiles()
    torch.testing.assert_close(_shown(whole, tiles), _shown(SMALL, tiles))


def test_rows_that_share_factors_start_at_their_mean() -> None:
    shared = replace(SMALL, decoder=replace(HYPONET, factor_rows=(3, 6, 4, 0)))
    tiles = _tiles()
    model, own = small_factor_model(shared), small_factor_model(SMALL)
    with torch.no_grad():
        means = torch.unflatten(own(tiles)[1], 1, (6, 2)).mean(2)
        torch.testing.assert_close(model(tiles)[1], means, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"decoder": replace(HYPONET, kernels=(1, 3, 3, 3)), "tokens": (1, 27, 2, 0)},
        {"decoder": replace(HYPONET, frequencies=2)},
        {"tokens": (1, 11, 2, 0)},
        {"patch": 16},
    ],
)
def test_other_sizes_start_at_random(change: dict[str, Any]) -> None:
    model = small_factor_model(replace(SMALL, **change))
    head = model.heads["1"].get_submodule("1").get_parameter("weight")
    assert 0 < float(head.std().detach()) < 0.05
