"""Distortion and estimated rate of one batch of clip pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hypernet.bitstream.steps import step_size
from hypernet.decoders.integer_prior import Prediction, round_through, table_scale
from hypernet.decoders.tubelet import CLIP_FRAMES, render_clips
from hypernet.predictor.weight_predictor import WeightPredictor, step_sizes

KEY_SHARE = 0.25
"""Weight of the rate without a reference clip; the rest is coded against another clip."""
MIDDLE_STEP = 147
MIDDLE_WEIGHT = 280.0
"""Weight of the squared error against one bit per pixel, at that quantisation step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """What one training step minimises, and its parts (scalars)."""

    total: Tensor
    mse: Tensor
    key_bits_per_pixel: Tensor
    inter_bits_per_pixel: Tensor
    tile_bits_per_pixel: Tensor


def distortion_weight(step_index_B: Tensor) -> Tensor:
    """What a squared error is worth in bits: inverse to the square of the step."""
    relative = step_sizes(step_index_B).flatten() / step_size(MIDDLE_STEP)
    return MIDDLE_WEIGHT / relative.square()


def symbol_bits(values: Tensor, prediction: Prediction) -> Tensor:
    """Bits of each value under the discretised Laplace distribution of its table; differentiable.

    ``values`` may carry additive uniform noise in place of rounding.
    """
    distance = (values - prediction.mean).abs()
    scale = table_scale(prediction.table)
    # log P(|x| in bin) written so that nothing cancels far from the mean.
    tail = -(distance - 0.5) / scale + torch.log1p(-torch.exp(-1 / scale)) - math.log(2)
    inside = 1 - 0.5 * (
        torch.exp(-(distance + 0.5) / scale) + torch.exp((distance.clamp(max=0.5) - 0.5) / scale)
    )
    nats = torch.where(distance > 0.5, tail, torch.log(inside.clamp(min=1e-9)))
    return nats * (-1 / math.log(2))


def clip_losses(
    model: WeightPredictor, frames_BTCHW: Tensor, step_index_B: Tensor, noise: torch.Generator
) -> Losses:
    """Losses of a batch whose neighbours 2i and 2i+1 are pairs; float frames in [0, 1]."""
    device = frames_BTCHW.device
    tiles, grid = model(frames_BTCHW, step_index_B)
    tile_symbols, grid_symbols = round_through(tiles), round_through(grid)
    steps = step_sizes(step_index_B)
    times = torch.arange(CLIP_FRAMES, dtype=torch.float32, device=device)
    base = model.base()
    decoded = render_clips(base, grid_symbols * steps, tile_symbols * steps, times)
    errors = (decoded.float() - frames_BTCHW).square().mean((1, 2, 3, 4))
    tile_bits, grid_bits = _pair_bits(model, tiles, grid, step_index_B, noise)
    pixels = frames_BTCHW[0, :, 0].numel()
    bits = ((tile_bits + grid_bits) / pixels).view(2, -1)
    rate = KEY_SHARE * bits[0] + (1 - KEY_SHARE) * bits[1]
    weight = distortion_weight(step_index_B)
    # Divided by the root of the weight, so that no end of the range drowns the other.
    total = (weight * errors + rate) * (weight / MIDDLE_WEIGHT).rsqrt()
    return Losses(
        total=total.mean(),
        mse=errors.mean(),
        key_bits_per_pixel=bits[0].mean(),
        inter_bits_per_pixel=bits[1].mean(),
        tile_bits_per_pixel=tile_bits.mean() / pixels,
    )


def _pair_bits(
    model: WeightPredictor,
    tiles: Tensor,
    grid: Tensor,
    step_index_B: Tensor,
    noise: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Bits of each clip, first all as key clips, then all against their partner: ``(2 * B,)``."""
    with torch.autocast(tiles.device.type, enabled=False):
        tile_symbols, grid_symbols = _key_and_inter(tiles), _key_and_inter(grid)
        step = model.config.prior.step_weights(step_index_B).repeat(2, 1)
        is_inter = torch.zeros(len(step), device=grid.device)
        is_inter[len(step_index_B) :] = 1
        own_tiles, own_grid = (round_through(x).repeat(2, 1, 1, 1) for x in (tiles, grid))
        at_tiles = model.prior.tiles(step, tile_symbols, is_inter)
        at_grid = model.prior.grid(step, own_tiles, own_grid, grid_symbols, is_inter)
        tile_bits = _bits(own_tiles, _noisy(tiles, noise), at_tiles)
        grid_bits = _bits(own_grid, _noisy(grid, noise), at_grid)
    return tile_bits, grid_bits


def _bits(symbols: Tensor, noisy: Tensor, prediction: Prediction) -> Tensor:
    """Bits of the symbols that will be coded, ``(B,)``.

    The prior learns from rounded symbols, what it will meet; the values learn from noisy ones,
    because rounded ones say nothing about where between two integers a value lies.
    """
    coded = symbol_bits(symbols.detach(), prediction)
    settled = Prediction(mean=prediction.mean.detach(), table=prediction.table.detach())
    smooth = symbol_bits(noisy.repeat(2, 1, 1, 1), settled)
    return (coded + smooth - smooth.detach()).sum((1, 2, 3))


def _key_and_inter(values: Tensor) -> Tensor:
    """Reference symbols: zeros for the key pass, the partner's symbols for the other."""
    partner = values.view(-1, 2, *values.shape[1:]).flip(1).flatten(0, 1)
    return torch.cat((torch.zeros_like(values), round_through(partner)))


def _noisy(values: Tensor, noise: torch.Generator) -> Tensor:
    return values + torch.rand(values.shape, generator=noise, device=values.device) - 0.5
