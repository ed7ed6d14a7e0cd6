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

    ``values`` may carry additive uniform noise in place of rounding.
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
    noise: torch.Generator,
) -> Losses:
    """Losses of a batch of pairs: the first clip is coded alone, the second against it.

    Args:
        model: what is trained.
        frames_B2TCHW: float frames in [0, 1].
        offset_B: frames from the middle of the second clip to the nearest one of the first,
            negative if that is earlier.
        step_index_B: quantisation step of each pair.
        noise: source of the noise that stands for rounding.
    """
    key = _score(model, frames_B2TCHW[:, 0], step_index_B, noise)
    nearest = torch.where((offset_B < 0).view(-1, 1, 1, 1), key.decoded[:, -1], key.decoded[:, 0])
    reference = Reference(picture=nearest.detach().clamp(0, 1), offset=offset_B)
    against = (reference, key.symbols.grid.detach())
    inter = _score(model, frames_B2TCHW[:, 1], step_index_B, noise, against)
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
    noise: torch.Generator,
    against: tuple[Reference, Tensor] | None = None,
) -> _Scored:
    """Losses of clips, coded alone or against a picture and the grid symbols of another clip."""
    reference, reference_grid = against or (None, None)
    device = frames_BTCHW.device
    predicted = model(frames_BTCHW, step_index_B, reference)
    sent = predicted.rounded()
    with torch.autocast(device.type, enabled=False):
        times = torch.arange(CLIP_FRAMES, dtype=torch.float32, device=device)
        weights = sent.dequantized(step_index_B, reference)
        decoded = render_clips(model.base(), weights, times)
        errors = (decoded - frames_BTCHW).square().mean((1, 2, 3, 4))
        step = model.config.prior.step_weights(step_index_B)
        bits = grid_bits(
            model.prior,
            step,
            sent,
            _noisy(predicted.grid, noise),
            reference_grid,
        )
    pixels = frames_BTCHW[0, :, 0].numel()
    return _Scored(
        errors=errors,
        bits=bits / pixels,
        symbols=sent,
        decoded=decoded,
    )


def grid_bits(
    prior: IntegerPrior,
    step: Tensor,
    sent: PredictedWeights,
    noisy: Tensor,
    reference_grid: Tensor | None,
) -> Tensor:
    """Bits of each clip's grid, ``(B,)``: those of the symbols, with gradients to ``noisy`` too.

    The prior learns from rounded symbols, what it will meet; the values learn from noisy ones,
    because rounded ones say nothing about where between two integers a value lies.
    """
    symbols = sent.grid.detach()
    is_inter = torch.full_like(step[:, 0], float(reference_grid is not None))
    before = torch.zeros_like(symbols) if reference_grid is None else reference_grid
    context = prior.context(step, sent.gate, before, is_inter)
    first, middle, last = prior.split(symbols)
    noisy_first, noisy_middle, noisy_last = prior.split(noisy)
    flags = prior.flags(symbols)
    mean = torch.zeros_like(first) if reference_grid is not None else key_means(first)
    total = _bits(first - mean, noisy_first - mean, prior.first_tables(context, first)).sum(
        (1, 2, 3)
    )
    logits = level_logit(prior.flag_levels(context, first, flags))
    told = F.binary_cross_entropy_with_logits(logits, flags, reduction="none")
    total = total + told.sum((1, 2, 3)) / math.log(2)
    config = prior.config
    tables = prior.middle_tables(context, first, flags)
    mask = prior.spread(flags[:, : len(config.middle)], config.middle)
    total = total + (mask * _bits(middle, noisy_middle, tables)).sum((1, 2, 3))
    tables = prior.last_tables(context, first, flags, middle)
    mask = prior.spread(flags[:, len(config.middle) :], config.last)
    return total + (mask * _bits(last, noisy_last, tables)).sum((1, 2, 3))


def _bits(symbols: Tensor, noisy: Tensor, table: Tensor) -> Tensor:
    coded = symbol_bits(symbols, table)
    smooth = symbol_bits(noisy, table.detach())
    return coded + smooth - smooth.detach()


def _noisy(values: Tensor, noise: torch.Generator) -> Tensor:
    return values + torch.rand(values.shape, generator=noise, device=values.device) - 0.5
