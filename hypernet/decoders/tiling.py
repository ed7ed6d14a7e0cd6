"""Frames as a grid of equal tiles and back: the fewest that cover, overlapping where they must."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

TileSize = tuple[int, int]
"""Height and width of a tile in pixels."""


def tile_starts(length: int, tile: int) -> tuple[int, ...]:
    """First pixel of each tile along one axis: evenly spread, side by side where they just fit."""
    count = math.ceil(length / tile)
    if count == 1:
        return (0,)
    return tuple(round(number * (length - tile) / (count - 1)) for number in range(count))


def tile_count(height: int, width: int, size: TileSize) -> int:
    """Tiles that cover a frame."""
    return math.ceil(height / size[0]) * math.ceil(width / size[1])


def cut_tiles(frames_TCHW: Tensor, size: TileSize) -> Tensor:
    """``(tiles, T, C, h, w)``, row by row; frames smaller than a tile repeat their border."""
    missing = [max(0, side - have) for side, have in zip(size, frames_TCHW.shape[-2:], strict=True)]
    frames = F.pad(frames_TCHW, (0, missing[1], 0, missing[0]), mode="replicate")
    height, width = frames.shape[-2:]
    return torch.stack(
        [
            frames[..., top : top + size[0], left : left + size[1]]
            for top in tile_starts(height, size[0])
            for left in tile_starts(width, size[1])
        ]
    )


def blend_tiles(tiles_BTCHW: Tensor, height: int, width: int) -> Tensor:
    """``(T, C, height, width)``: inverse of ``cut_tiles``, with linear ramps across overlaps."""
    size = (tiles_BTCHW.shape[-2], tiles_BTCHW.shape[-1])
    canvas_size = max(height, size[0]), max(width, size[1])
    canvas = tiles_BTCHW.new_zeros(*tiles_BTCHW.shape[1:3], *canvas_size)
    down = _shares(canvas_size[0], size[0], tiles_BTCHW)
    right = _shares(canvas_size[1], size[1], tiles_BTCHW)
    tiles = iter(tiles_BTCHW)
    for top, share_down in down:
        for left, share_right in right:
            place = canvas[..., top : top + size[0], left : left + size[1]]
            place.addcmul_(next(tiles), share_down[:, None] * share_right)
    return canvas[..., :height, :width]


def _shares(length: int, tile: int, like: Tensor) -> list[tuple[int, Tensor]]:
    """Start of each tile along one axis, and what it contributes to each of its pixels."""
    ramp = torch.arange(1, tile + 1, dtype=like.dtype, device=like.device)
    tent = torch.minimum(ramp, ramp.flip(0))
    starts = tile_starts(length, tile)
    total = tent.new_zeros(length)
    for start in starts:
        total[start : start + tile] += tent
    return [(start, tent / total[start : start + tile]) for start in starts]
