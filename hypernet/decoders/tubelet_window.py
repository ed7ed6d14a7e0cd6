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
from hypernet.decoders.warp import MAX_MOTION, MOTION_CELL

FIELD_MARGIN = MOTION_CELL // 2 + 8
"""Motion is interpolated between the centres of squares; cells overlap and sampling sees more."""
SAMPLING_MARGIN = 7 + GRID_CELL
"""What bicubic sampling of the reference sees, overlapping cells, bilinear sampling."""


def window_of(decoder: Tubelet, moving: Mapping[str, Tensor], crop: Crop) -> Crop:
    """The pixels, whole squares of the motion, whose weights the crop of any frame depends on.

    Args:
        decoder: of the whole clip.
        moving: its ``motion`` and ``sway``.
        crop: of the frames.
    """
    margin, square = _reach(moving) + FIELD_MARGIN, MOTION_CELL
    grown = crop.grown(margin, decoder.clip.height, decoder.clip.width)
    top, left = grown.top // square * square, grown.left // square * square
    bottom = min(math.ceil(grown.bottom / square) * square, decoder.clip.height)
    right = min(math.ceil(grown.right / square) * square, decoder.clip.width)
    return Crop(top=top, left=left, height=bottom - top, width=right - left)


def reference_window_of(decoder: Tubelet, moving: Mapping[str, Tensor], crop: Crop) -> Crop:
    """The pixels of the reference picture that the crop of any frame depends on."""
    margin = _reach(moving) + _farthest(moving["motion"][None, 4:]) + SAMPLING_MARGIN
    return crop.grown(margin, decoder.clip.height, decoder.clip.width)


def cut_out(weights: Mapping[str, Tensor], window: Crop) -> dict[str, Tensor]:
    """Weights, without a reference, of a clip of the size of a window that ``window_of`` gave.

    Its sway is that of each square of the motion, as squares that sway may lie across its border.
    """
    cells = {"motion": MOTION_CELL, "gate": GRID_CELL, "grid": GRID_CELL}
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
