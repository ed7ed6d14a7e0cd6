"""Float tensors <-> integer symbols on the committed grid of step sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypernet.bitstream.entropy import MAX_MAGNITUDE
from hypernet.bitstream.steps import step_size
from hypernet.errors import EncodeFailed
from hypernet.weights import WeightSpec

Symbols = Mapping[str, NDArray[np.int32]]


def dequantize(
    specs: Sequence[WeightSpec],
    symbols: Symbols,
    step_indices: Sequence[int],
    device: torch.device | None = None,
) -> dict[str, Tensor]:
    """Weights in float32 from integers; exact on every platform."""
    return {
        spec.name: torch.from_numpy(symbols[spec.name]).to(device).float().mul_(step_size(index))
        for spec, index in zip(specs, step_indices, strict=True)
    }


def quantize(
    specs: Sequence[WeightSpec], weights: Mapping[str, Tensor], step_indices: Sequence[int]
) -> dict[str, NDArray[np.int32]]:
    """Nearest integers; ``dequantize`` of the result is what a decoder sees.

    Raises:
        EncodeFailed: a weight is not finite, or too many steps away from zero to be coded.
    """
    return {
        spec.name: _nearest_integers(spec.name, weights[spec.name], step_size(index))
        for spec, index in zip(specs, step_indices, strict=True)
    }


def _nearest_integers(name: str, weight: Tensor, step: float) -> NDArray[np.int32]:
    rounded = torch.round(weight.detach().cpu() / step)
    if not bool((rounded.abs() <= MAX_MAGNITUDE).all()):  # not a number is not within, either
        raise EncodeFailed(f"{name}: a weight is not within {MAX_MAGNITUDE} steps of zero")
    return rounded.to(torch.int32).numpy()
