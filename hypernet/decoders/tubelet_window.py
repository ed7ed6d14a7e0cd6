"""The part of a tubelet clip that a crop of its frames needs."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from hypernet.crop import Crop
from hypernet.decoders.spectrum import GRID_CELL
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


def window_of(decoder: Tubelet, motion_6hw: Tensor, crop: Crop) -> Crop:
    """The pixels, whole tiles, whose weights the crop of any frame depends on."""
    margin = max(GAIN_MARGIN, _reach(motion_6hw[:4]) + FIELD_MARGIN)
    grown = crop.grown(margin, decoder.clip.height, decoder.clip.width)
    top, left = grown.top // TILE * TILE, grown.left // TILE * TILE
    bottom = min(math.ceil(grown.bottom / TILE) * TILE, decoder.clip.height)
    right = min(math.ceil(grown.right / TILE) * TILE, decoder.clip.width)
    return Crop(top=top, left=left, height=bottom - top, width=right - left)


def reference_window_of(decoder: Tubelet, motion_6hw: Tensor, crop: Crop) -> Crop:
    """The pixels of the reference picture that the crop of any frame depends on."""
    margin = _reach(motion_6hw[:4]) + _reach(motion_6hw[4:]) + SAMPLING_MARGIN
    return crop.grown(margin, decoder.clip.height, decoder.clip.width)


def cut_out(weights: Mapping[str, Tensor], window: Crop) -> dict[str, Tensor]:
    """Weights, without a reference, of a clip of the size of a window that ``window_of`` gave."""
    cells = {"motion": MOTION_CELL, "gate": GRID_CELL, "tiles": TILE, "grid": GRID_CELL}
    parts = {}
    for name, whole in weights.items():
        cell = cells[name]
        rows = slice(window.top // cell, math.ceil(window.bottom / cell))
        columns = slice(window.left // cell, math.ceil(window.right / cell))
        parts[name] = whole[:, rows, columns]
    return parts


def _reach(motion_Chw: Tensor) -> int:
    """Pixels that anything can move: of each pair of rows x and y, all pairs added."""
    sizes = motion_Chw.abs().clamp(max=MAX_MOTION)
    pairs = sizes.view(-1, 2, *motion_Chw.shape[1:]).sum(0)
    return math.ceil(float(pairs.max()))
