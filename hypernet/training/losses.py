"""Distortion and estimated rate of one batch of clip pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernet.decoders.integer_prior import (
    IntegerPrior,
    key_means,
    level_logit,
    table_scale,
)
from hypernet.decoders.spectrum import CLIP_FRAMES
from hypernet.decoders.tubelet_layers import render_clips
from hypernet.predictor.analysis import Reference
from hypernet.predictor.grid_choice import chosen_grid
from hypernet.predictor.weight_predictor import (
    MIDDLE_WEIGHT,
    PredictedWeights,
    WeightPredictor,
    distortion_weight,
)

KEY_SHARE = 0.3
"""Weight of clips without a reference; the rest is coded against another clip."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """What one training step minimises, and its parts (scalars)."""

    total: Tensor
    mse: Tensor
    key_bits_per_pixel: Tensor
    inter_bits_per_pixel: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scored:
    """Of each clip: squared error, bits per pixel, and what was sent."""

    errors: Tensor
    bits: Tensor
    symbols: PredictedWeights
    decoded: Tensor


def symbol_bits(values: Tensor, table: Tensor) -> Tensor:
    """Bits of each value under the discretised Laplace distribution of its table; differentiable.

    Integers are meant, but between them nothing jumps.
    """
    distance = values.abs()
    scale = table_scale(table)
    # log P(|x| in bin) written so that nothing cancels far from zero.
    tail = -(distance - 0.5) / scale + torch.log1p(-torch.exp(-1 / scale)) - math.log(2)
    inside = 1 - 0.5 * (
        torch.exp(-(distance + 0.5) / scale) + torch.exp((distance.clamp(max=0.5) - 0.5) / scale)
    )
    nats = torch.where(distance > 0.5, tail, torch.log(inside.clamp(min=1e-9)))
    return nats * (-1 / math.log(2))


def clip_losses(
    model: WeightPredictor,
    frames_B2TCHW: Tensor,
    offset_B: Tensor,
    step_index_B: Tensor,
) -> Losses:
    """Losses of a batch of pairs: the first clip is coded alone, the second against it.

    Args:
        model: what is trained.
        frames_B2TCHW: float frames in [0, 1].
        offset_B: frames from the middle of the second clip to the nearest one of the first,
            negative if that is earlier.
        step_index_B: quantisation step of each pair.
    """
    key = _score(model, frames_B2TCHW[:, 0], step_index_B)
    nearest = torch.where((offset_B < 0).view(-1, 1, 1, 1), key.decoded[:, -1], key.decoded[:, 0])
    reference = Reference(picture=nearest.detach().clamp(0, 1), offset=offset_B)
    against = (reference, key.symbols.grid.detach())
    inter = _score(model, frames_B2TCHW[:, 1], step_index_B, against)
    weight = distortion_weight(step_index_B)
    # Divided by the root of the weight, so that no end of the range drowns the other.
    balance = (weight / MIDDLE_WEIGHT).rsqrt()
    costs = [(weight * clip.errors + clip.bits) * balance for clip in (key, inter)]
    return Losses(
        total=(KEY_SHARE * costs[0] + (1 - KEY_SHARE) * costs[1]).mean(),
        mse=(KEY_SHARE * key.errors + (1 - KEY_SHARE) * inter.errors).mean(),
        key_bits_per_pixel=key.bits.mean(),
        inter_bits_per_pixel=inter.bits.mean(),
    )


def _score(
    model: WeightPredictor,
    frames_BTCHW: Tensor,
    step_index_B: Tensor,
    against: tuple[Reference, Tensor] | None = None,
) -> _Scored:
    """Losses of clips, coded alone or against a picture and the grid symbols of another clip."""
    reference, reference_grid = against or (None, None)
    device = frames_BTCHW.device
    predicted = model(frames_BTCHW, step_index_B, reference)
    sent = sent_weights(model.prior, predicted, step_index_B, reference_grid)
    with torch.autocast(device.type, enabled=False):
        times = torch.arange(CLIP_FRAMES, dtype=torch.float32, device=device)
        weights = sent.dequantized(step_index_B, reference)
        decoded = render_clips(model.base(), weights, times)
        errors = (decoded - frames_BTCHW).square().mean((1, 2, 3, 4))
        step = model.config.prior.step_weights(step_index_B)
        bits = grid_bits(model.prior, step, sent, reference_grid)
    pixels = frames_BTCHW[0, :, 0].numel()
    return _Scored(
        errors=errors,
        bits=bits / pixels,
        symbols=sent,
        decoded=decoded,
    )


def sent_weights(
    prior: IntegerPrior,
    predicted: PredictedWeights,
    step_index_B: Tensor,
    reference_grid: Tensor | None,
) -> PredictedWeights:
    """What is sent of a batch: the integers that cost least, as if they were the values.

    What is dropped for its bits has no gradient: growing would only bring it back.
    """
    chosen = [
        chosen_grid(
            prior,
            predicted.of(clip),
            step_index,
            None if reference_grid is None else reference_grid[clip : clip + 1],
        )
        for clip, step_index in enumerate(step_index_B.tolist())
    ]
    return predicted.sent(torch.cat(chosen))


def grid_bits(
    prior: IntegerPrior, step: Tensor, sent: PredictedWeights, reference_grid: Tensor | None
) -> Tensor:
    """Bits of each clip's grid, ``(B,)``, with gradients to the prior and to what is sent."""
    symbols = sent.grid.detach()
    is_inter = torch.full_like(step[:, 0], float(reference_grid is not None))
    before = torch.zeros_like(symbols) if reference_grid is None else reference_grid
    context = prior.context(step, sent.gate, before, is_inter)
    first, middle, _ = prior.split(symbols)
    sent_first, sent_middle, sent_last = prior.split(sent.grid)
    flags = prior.flags(symbols)
    mean = torch.zeros_like(first) if reference_grid is not None else key_means(first)
    tables = prior.first_tables(context, first)
    total = symbol_bits(sent_first - mean, tables).sum((1, 2, 3))
    logits = level_logit(prior.flag_levels(context, first, flags))
    told = F.binary_cross_entropy_with_logits(logits, flags, reduction="none")
    total = total + told.sum((1, 2, 3)) / math.log(2)
    config = prior.config
    tables = prior.middle_tables(context, first, flags)
    mask = prior.spread(flags[:, : len(config.middle)], config.middle)
    total = total + (mask * symbol_bits(sent_middle, tables)).sum((1, 2, 3))
    tables = prior.last_tables(context, first, flags, middle)
    mask = prior.spread(flags[:, len(config.middle) :], config.last)
    return total + (mask * symbol_bits(sent_last, tables)).sum((1, 2, 3))
