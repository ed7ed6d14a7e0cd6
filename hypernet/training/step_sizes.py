"""Quantisation steps of a trained factor model: finer where an error shows more."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hypernet.bitstream.steps import NUM_STEPS, nearest_step_index
from hypernet.decoders.hyponet_layers import TileRenderer
from hypernet.predictor.factor_predictor import FactorPredictor

MIDDLE_SHARE = 0.9
"""Step over usual size of a factor at the middle quality, for the layer with the most factors."""
PROBE_SHARE = 0.1
"""Size of the error that is tried, relative to the factors."""
LEAST_SENSITIVITY = 1e-6
"""Of a layer that shows nothing, relative to the layer with the most factors."""
PROBED_TIMES = (0.0, 3.0, 6.0)


@torch.no_grad()
def middle_steps(model: FactorPredictor, tiles_BTCHW: Tensor) -> dict[int, int]:
    """Step index of each layer's factors, on the stream's grid.

    A value of any layer then adds the same squared error to what is decoded: steps are inverse to
    the root of what an error of one value shows. A layer whose values are worth less than those of
    the layer with the most gets the coarsest step, which leaves nothing of it.

    Args:
        model: trained.
        tiles_BTCHW: float frames in [0, 1] of what it was trained on.
    """
    factors = model(tiles_BTCHW)
    shown = _rendered(model, factors)
    noise = torch.Generator().manual_seed(0)
    sensitivity: dict[int, float] = {}
    for number, value in factors.items():
        usual = float(value.std()) or 1.0  # a layer may have learned to say nothing
        error = torch.randn(value.shape, generator=noise) * (PROBE_SHARE * usual)
        changed = _rendered(model, factors | {number: value + error})
        difference = float((changed - shown).square().mean())
        sensitivity[number] = difference / (float(error.square().mean()) * value[0].numel())
    main = max(factors, key=lambda number: factors[number][0].numel())
    worth = {number: _worth(model, tiles_BTCHW, factors, number) for number in factors}
    step = MIDDLE_SHARE * float(factors[main].std())
    least = LEAST_SENSITIVITY * sensitivity[main]
    return {
        number: nearest_step_index(step * math.sqrt(sensitivity[main] / max(each, least)))
        if number == main or worth[number] > worth[main]
        else NUM_STEPS - 1
        for number, each in sensitivity.items()
    }


def _worth(
    model: FactorPredictor, tiles_BTCHW: Tensor, factors: dict[int, Tensor], number: int
) -> float:
    """By how much a layer's factors lower the squared error, per value."""
    wanted = tiles_BTCHW[:, torch.tensor(PROBED_TIMES).long()]
    without = factors | {number: torch.zeros_like(factors[number])}
    errors = [
        float((_rendered(model, sent) - wanted).square().mean()) for sent in (without, factors)
    ]
    return (errors[0] - errors[1]) / factors[number][0].numel()


def _rendered(model: FactorPredictor, factors: dict[int, Tensor]) -> Tensor:
    renderer = TileRenderer(model.config.decoder.layers(), model.base(), factors)
    return renderer.frames(torch.tensor(PROBED_TIMES))
