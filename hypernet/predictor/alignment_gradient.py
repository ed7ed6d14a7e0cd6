"""In which direction motion lines pictures up better, written out.

The same as automatic differentiation of ``Alignment.moved`` would find; but the pictures are small
and the steps many, so its bookkeeping would take longer than the arithmetic.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernet.decoders.warp import bounded, identity, interpolation
from hypernet.predictor.native_analysis import NativeAlignment, can_align

_SOFTNESS = 0.01
"""Differences well above this count by their size only."""
_BILINEAR, _BORDER = 0, 1


class AlignmentGradient:
    """Slope of what is left after moving, and of the roughness of the motion.

    What is left is the mean over all pixels of the smooth L1 difference to the target.

    Args:
        pictures_BTHW: that are moved.
        basis_KT: how far each pair of channels of the motion has moved each picture.
        target_B1HW: what they should look like then; their mean without one.
        cell: pixels along each side of the squares that have one displacement.
        roughness: what a pixel of difference between neighbouring squares costs, as an error.
        fold: pixels of difference that cost twice as much.
    """

    def __init__(
        self,
        pictures_BTHW: Tensor,
        basis_KT: Tensor,
        target_B1HW: Tensor | None,
        *,
        cell: int,
        roughness: float,
        fold: float,
    ) -> None:
        kind = NativeAlignment if can_align(pictures_BTHW) else _Errors
        self._errors = kind(pictures_BTHW, basis_KT, target_B1HW, cell=cell, softness=_SOFTNESS)
        self._pixels = pictures_BTHW.numel()
        self._roughness, self._fold = roughness * pictures_BTHW.shape[1], fold

    def __call__(self, motion_BChw: Tensor) -> Tensor:
        """Slope for each value of the motion, which is in pixels of the pictures."""
        slope = self._errors.slopes(motion_BChw)
        slope.add_(_slope_of_roughness(motion_BChw, self._fold), alpha=self._roughness)
        return slope.div_(self._pixels)


class _Errors:
    """As ``NativeAlignment``, on any device."""

    def __init__(
        self,
        pictures_BTHW: Tensor,
        basis_KT: Tensor,
        target_B1HW: Tensor | None,
        *,
        cell: int,
        softness: float,
    ) -> None:
        batch, moments, height, width = pictures_BTHW.shape
        self._pictures, self._target = pictures_BTHW.flatten(0, 1)[:, None], target_B1HW
        self._shape = (batch, moments, height, width)
        self._rows = interpolation(height, -(-height // cell), cell).to(pictures_BTHW)
        self._columns = interpolation(width, -(-width // cell), cell).to(pictures_BTHW)
        # To unit coordinates, in which a picture is 2 wide and 2 high.
        self._unit = pictures_BTHW.new_tensor((2 / width, 2 / height)).view(2, 1, 1)
        own = identity(height, width).to(pictures_BTHW).view(1, 1, -1)
        self._own = own.expand(batch, -1, -1)
        self._basis_TK = basis_KT.T
        self._shares = F.pad(self._basis_TK, (0, 1), value=1.0)
        self._softness = softness

    def slopes(self, motion_BChw: Tensor) -> Tensor:
        """Of the sum of smooth L1 errors, for each value of the motion in pixels."""
        batch, moments, height, width = self._shape
        points = self._points(motion_BChw)
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
        by_basis = torch.matmul(self._basis_TK.T, slope_of_points.view(batch, moments, -1))
        lines = torch.matmul(self._rows.T, by_basis.view(batch, -1, height, 2 * width))
        across = torch.unflatten(lines, 3, (width, 2)).transpose(3, 4).transpose(2, 3)
        return torch.matmul(across, self._columns).mul_(self._unit).flatten(1, 2)

    def _points(self, motion_BChw: Tensor) -> Tensor:
        """Places to sample at, in unit coordinates: ``(B * T, H, W, 2)``."""
        batch, moments, height, width = self._shape
        parts = torch.unflatten(bounded(motion_BChw), 1, (-1, 2)) * self._unit
        fields = torch.matmul(torch.matmul(self._rows, parts), self._columns.T)
        fields_and_own = torch.cat((fields.view(batch, -1, self._own.shape[2]), self._own), 1)
        points = torch.matmul(self._shares, fields_and_own)
        return points.view(batch * moments, 2, height, width).permute(0, 2, 3, 1)

    def _slope_of_pictures(self, moved: Tensor) -> Tensor:
        """Of the sum of errors, for each pixel of the moved pictures."""
        error = moved.view(self._shape)
        error = error - (error.mean(1, keepdim=True) if self._target is None else self._target)
        slope = error.mul_(1 / self._softness).clamp_(-1, 1)
        if self._target is None:
            slope -= slope.mean(1, keepdim=True)
        return slope.view(moved.shape)


def _slope_of_roughness(motion_BChw: Tensor, fold: float) -> Tensor:
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
