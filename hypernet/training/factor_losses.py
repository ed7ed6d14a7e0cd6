"""What training of NeRV-Enc and TeCoNeRV minimises: squared error, and coherence in time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hypernet.decoders.hyponet_layers import TileRenderer
from hypernet.decoders.spectrum import CLIP_FRAMES
from hypernet.predictor.factor_predictor import FactorPredictor

RENDERED_FRAMES = 4
"""Frames of each clip that a step looks at; the time is an input, so any will do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FactorLosses:
    """What one training step minimises, and its parts (scalars)."""

    total: Tensor
    mse: Tensor
    incoherence: Tensor


def factor_losses(
    model: FactorPredictor,
    frames_B2TCHW: Tensor,
    noise: torch.Generator,
    *,
    coherence_weight: float,
) -> FactorLosses:
    """Losses of a batch of pairs of consecutive clips.

    The coherence term is TeCoNeRV's: the mean absolute difference between the final, normalised
    filters of both clips, summed over layers. Unlike there, both clips are reconstructed then;
    without the term only the first clip is looked at.

    Args:
        model: what is trained.
        frames_B2TCHW: float frames in [0, 1].
        noise: chooses the frames that are rendered.
        coherence_weight: of that term; 0 leaves it out.
    """
    tiles = frames_B2TCHW.flatten(0, 1) if coherence_weight else frames_B2TCHW[:, 0]
    layers = model.config.decoder.layers()
    factors = model(tiles)
    order = torch.randperm(CLIP_FRAMES, generator=noise, device=noise.device)
    chosen = order[:RENDERED_FRAMES].sort().values
    # In the precision of decoders: training would make up for what bfloat16 does to time and maps.
    with torch.autocast(noise.device.type, enabled=False):
        renderer = TileRenderer(layers, model.base(), factors)
        decoded = renderer.frames(chosen.float())
    mse = (decoded - tiles[:, chosen]).square().mean()
    incoherence = torch.zeros((), device=mse.device)
    if coherence_weight:
        sent = [
            torch.unflatten(filters, 0, (-1, 2)) for filters in renderer.filters if len(filters) > 1
        ]
        incoherence = torch.stack([(f[:, 0] - f[:, 1]).abs().mean() for f in sent]).sum()
    return FactorLosses(
        total=mse + coherence_weight * incoherence, mse=mse, incoherence=incoherence.detach()
    )
