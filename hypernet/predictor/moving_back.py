"""Errors of frames, moved back to where the pictures that are sent have caused them."""

from __future__ import annotations

import torch
from torch import Tensor

from hypernet.decoders.clip_motion import frame_fields, motion_at
from hypernet.decoders.planes import Planes
from hypernet.decoders.warp import MOTION_CELL, identity, sample_at, to_unit


class WayBack:
    """From the frames of a clip to its pictures before they are moved.

    Args:
        motion_4hw: of the clip, in pixels.
        sway_Shw: of the clip, in pixels.
        height: of a frame, whole cells.
        width: of a frame, whole cells.
    """

    def __init__(self, motion_4hw: Tensor, sway_Shw: Tensor, height: int, width: int) -> None:
        self._motion, self._sway = motion_4hw[None], sway_Shw[None]
        self._size = (height, width)
        self._is_still = not bool(self._motion.any() or self._sway.any())

    def __call__(self, planes: Planes, time: float) -> Planes:
        """Planes of one frame at the places that they were read from.

        Where several pixels read the same place it gets their average, where fewer than one did,
        less than they have.
        """
        if self._is_still:
            return planes
        height, width = self._size
        at = torch.tensor([float(time)], device=self._motion.device)
        moved = motion_at(self._motion, self._sway, at)
        luma, chroma = planes
        return (
            _averaged(luma, frame_fields(moved, height, width)[:, 0]),
            _averaged(chroma, frame_fields(moved, height // 2, width // 2, MOTION_CELL // 2)[:, 0]),
        )


def _averaged(pictures_BCHW: Tensor, field_B2HW: Tensor) -> Tensor:
    size = (pictures_BCHW.shape[-2], pictures_BCHW.shape[-1])
    # What moves right was read to the left.
    points = (identity(*size).to(field_B2HW) - to_unit(field_B2HW, size)).permute(0, 2, 3, 1)
    ones = torch.ones_like(pictures_BCHW[:, :1])
    spread = _spread(torch.cat((pictures_BCHW, ones), 1), points)
    return spread[:, :-1] / spread[:, -1:].clamp(min=1)


def _spread(values_BCHW: Tensor, points_BHW2: Tensor) -> Tensor:
    """The adjoint of ``sample_at``: each pixel's values go where it would read."""
    with torch.enable_grad():
        read_from = torch.zeros_like(values_BCHW, requires_grad=True)
        read = sample_at(read_from, points_BHW2)
        (spread,) = torch.autograd.grad(read, read_from, values_BCHW)
    return spread
