"""Which integers are sent for a predicted grid: those that cost least, errors and bits together."""

from __future__ import annotations

from torch import Tensor

from hypernet.decoders.grid_costs import GridCosts
from hypernet.decoders.integer_prior import IntegerPrior
from hypernet.predictor.weight_predictor import PredictedWeights, unit_price

PASSES = 2
"""The first takes its tables from all rounded values, the next from what was left of them."""


def chosen_grid(
    prior: IntegerPrior,
    weights: PredictedWeights,
    step_index: int,
    reference_BCHW: Tensor | None,
    repeats: float = 1.0,
) -> Tensor:
    """The grid of one clip as integers, those that are not worth their bits dropped.

    Args:
        prior: what tells the bits, on the device of the weights.
        weights: of the clip.
        step_index: quantisation step of the grid.
        reference_BCHW: grid symbols of the reference clip, None for a key clip.
        repeats: how many frames of the clip stand for each frame that is seen.
    """
    costs = GridCosts(prior, step_index, weights.gate, reference_BCHW)
    wanted, price = weights.grid.detach().float(), unit_price(step_index) / repeats
    chosen = wanted.round()
    for _ in range(PASSES):
        chosen = costs.cheapest(wanted, chosen, price)
    return chosen
