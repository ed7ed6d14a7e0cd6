"""The part of a tubelet clip that a crop of its frames needs."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from hypernet.crop import Crop
from hypernet.decoders.clip_motion import motion_at, swaying_squares
from hypernet.decoders.spectrum import CLIP_FRAMES, GRID_CELL
from hypernet.decoders.tubelet import Tubelet
from hypernet.decoders.tubelet_layers import TILE_CELLS
from hypernet.decoders.warp import MAX_MOTION, MOTION_CELL

TILE = TILE_CELLS * GRID_CELL
GAIN_MARGIN = TILE // 2 + 4
"""Gains are interpolated between the centres of tiles, and the last layers see 4 pixels around."""
FIELD_MARGIN = MOTION_CELL // 2 + 8
"""Motion is interpolated between the centres of squares; sampling and the last layers see more."""
SAMPLING_MARGIN = 11 + GRID_CELL
"""What bicubic sampling of the reference sees, overlapping cells, bilinear sampling, the rest."""


def window_of(decoder: Tubelet, moving: Mapping[str, Tensor], crop: Crop) -> Crop:
    """The pixels, whole tiles, whose weights the crop of any frame depends on.

    Args:
        decoder: of the whole clip.
        moving: its ``motion`` and ``sway``.
        crop: of the frames.
    """
    margin = max(GAIN_MARGIN, _reach(moving) + FIELD_MARGIN)
    grown = crop.grown(margin, decoder.clip.height, decoder.clip.width)
    top, left = grown.top // TILE * TILE, grown.left // TILE * TILE
    bottom = min(math.ceil(grown.bottom / TILE) * TILE, decoder.clip.height)
    right = min(math.ceil(grown.right / TILE) * TILE, decoder.clip.width)
    return Crop(top=top, left=left, height=bottom - top, width=right - left)


def reference_window_of(decoder: Tubelet, moving: Mapping[str, Tensor], crop: Crop) -> Crop:
    """The pixels of the reference picture that the crop of any frame depends on."""
    margin = _reach(moving) + _farthest(moving["motion"][None, 4:]) + SAMPLING_MARGIN
    return crop.grown(margin, decoder.clip.height, decoder.clip.width)


def cut_out(weights: Mapping[str, Tensor], window: Crop) -> dict[str, Tensor]:
    """Weights, without a reference, of a clip of the size of a window that ``window_of`` gave.

    Its sway is that of each square of the motion, as squares that sway may lie across its border.
    """
    cells = {"motion": MOTION_CELL, "gate": GRID_CELL, "tiles": TILE, "grid": GRID_CELL}
    if "sway" in weights:
        squares = weights["motion"].shape[1:]
        weights = {**weights, "sway": swaying_squares(weights["sway"][None], *squares)[0]}
        cells["sway"] = MOTION_CELL
    parts = {}
    for name, whole in weights.items():
        cell = cells[name]
        rows = slice(window.top // cell, math.ceil(window.bottom / cell))
        columns = slice(window.left // cell, math.ceil(window.right / cell))
        parts[name] = whole[:, rows, columns]
    return parts


def _reach(moving: Mapping[str, Tensor]) -> int:
    """Pixels that anything is moved inside the clip."""
    times = torch.arange(float(CLIP_FRAMES))
    return _farthest(motion_at(moving["motion"][None, :4], moving["sway"][None], times))


def _farthest(motion: Tensor) -> int:
    """Whole pixels, half a pixel more for times between frames."""
    return math.ceil(float(motion.abs().max().clamp(max=MAX_MOTION)) + 0.5)
