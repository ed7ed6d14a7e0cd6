"""In which direction motion lines pictures up better, written out.

The same as automatic differentiation of ``Alignment.moved`` would find; but the pictures are small
and the steps many, so its bookkeeping would take longer than the arithmetic.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hypernet.decoders.warp import bounded, identity, interpolation
from hypernet.predictor.native_analysis import NativeAlignment, can_align

_SOFTNESS = 0.01
"""Differences well above this count by their size only."""
_BILINEAR, _BORDER = 0, 1


def alignment_errors(
    pictures_BTHW: Tensor, target_B1HW: Tensor | None, *, cell: int
) -> NativeAlignment | _Errors:
    """What tells the slopes of the sum of smooth L1 differences of moved pictures to the target.

    Args:
        pictures_BTHW: that are moved.
        target_B1HW: what they should look like then; their mean without one.
        cell: pixels along each side of the squares that have one displacement.
    """
    kind = NativeAlignment if can_align(pictures_BTHW) else _Errors
    return kind(pictures_BTHW, target_B1HW, cell=cell, softness=_SOFTNESS)


class _Errors:
    """As ``NativeAlignment``, on any device."""

    def __init__(
        self, pictures_BTHW: Tensor, target_B1HW: Tensor | None, *, cell: int, softness: float
    ) -> None:
        batch, moments, height, width = pictures_BTHW.shape
        self._pictures, self._target = pictures_BTHW.flatten(0, 1)[:, None], target_B1HW
        self._shape = (batch, moments, height, width)
        self._rows = interpolation(height, -(-height // cell), cell).to(pictures_BTHW)
        self._columns = interpolation(width, -(-width // cell), cell).to(pictures_BTHW)
        # To unit coordinates, in which a picture is 2 wide and 2 high.
        self._unit = pictures_BTHW.new_tensor((2 / width, 2 / height)).view(2, 1, 1)
        self._own = identity(height, width).to(pictures_BTHW)
        self._softness = softness

    def slopes(self, motion_BT2hw: Tensor) -> Tensor:
        """Of the sum of smooth L1 errors, for each displacement in pixels."""
        height, width = self._shape[2:]
        points = self._points(motion_BT2hw.flatten(0, 1))
        moved = torch.grid_sampler_2d(self._pictures, points, _BILINEAR, _BORDER, False)
        slope_of_points = torch.ops.aten.grid_sampler_2d_backward(
            self._slope_of_pictures(moved),
            self._pictures,
            points,
            _BILINEAR,
            _BORDER,
            False,
            (False, True),
        )[1]
        lines = torch.matmul(self._rows.T, slope_of_points.view(-1, height, 2 * width))
        across = torch.unflatten(lines, 2, (width, 2)).permute(0, 3, 1, 2)
        slopes = torch.matmul(across, self._columns).mul_(self._unit)
        return slopes.view(motion_BT2hw.shape)

    def _points(self, motion_N2hw: Tensor) -> Tensor:
        """Places to sample at, in unit coordinates: ``(B * T, H, W, 2)``."""
        fields = self._rows @ (bounded(motion_N2hw) * self._unit) @ self._columns.T
        return fields.add_(self._own).permute(0, 2, 3, 1)

    def _slope_of_pictures(self, moved: Tensor) -> Tensor:
        """Of the sum of errors, for each pixel of the moved pictures."""
        error = moved.view(self._shape)
        error = error - (error.mean(1, keepdim=True) if self._target is None else self._target)
        slope = error.mul_(1 / self._softness).clamp_(-1, 1)
        if self._target is None:
            slope -= slope.mean(1, keepdim=True)
        return slope.view(moved.shape)


def slope_of_roughness(motion_BChw: Tensor, fold: float) -> Tensor:
    """Of the sum of ``|d| + d^2 / fold`` over the differences ``d`` between neighbours."""
    across, down = _differences(motion_BChw.shape[3]), _differences(motion_BChw.shape[2])
    across, down = across.to(motion_BChw), down.to(motion_BChw)
    along_x = motion_BChw @ across
    along_y = down.T @ motion_BChw
    slope = along_x.sign().add_(along_x, alpha=2 / fold) @ across.T
    return slope.add_(down @ along_y.sign().add_(along_y, alpha=2 / fold))


def _differences(squares: int) -> Tensor:
    """Of neighbours in a row: ``(squares, squares - 1)``."""
    one = torch.eye(squares)
    return one[:, 1:] - one[:, :-1]
