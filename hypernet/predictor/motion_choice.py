"""Which motion is worth its bits: whole steps, near what was found, that are cheap to send.

Where a picture is flat or its details will not be sent anyway, a displacement hardly matters; that
of the neighbours, or none, costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernet.decoders.warp import MOTION_CELL

_SWEEPS = 4
_ALIKE_BITS, _ONE_BITS, _DOUBLING_BITS = 0.3, 2.5, 1.6
"""Of a value that is its neighbour's, one step off, and for each doubling of that: about what the
range coder takes."""


def texture(picture_B1HW: Tensor) -> Tensor:
    """How a displacement of each square shows, ``(B, 3, h, w)``: sums of squared slopes.

    By x and x, x and y, y and y; a displacement ``(x, y)`` in pixels makes a squared error of
    ``xx * x * x + 2 * xy * x * y + yy * y * y`` in one frame.
    """
    along_x = 0.5 * (picture_B1HW[..., 1:-1, 2:] - picture_B1HW[..., 1:-1, :-2])
    along_y = 0.5 * (picture_B1HW[..., 2:, 1:-1] - picture_B1HW[..., :-2, 1:-1])
    products = torch.cat((along_x * along_x, along_x * along_y, along_y * along_y), 1)
    height, width = (side + -side % MOTION_CELL for side in picture_B1HW.shape[-2:])
    missing = (width - products.shape[-1] - 1, height - products.shape[-2] - 1)
    whole = F.pad(products, (1, missing[0], 1, missing[1]))
    return F.avg_pool2d(whole, MOTION_CELL) * MOTION_CELL**2


def chosen_motion(
    found_BChw: Tensor, texture_B3hw: Tensor, shares_K: Tensor, price_B: Tensor
) -> Tensor:
    """Whole numbers ``(B, C, h, w)`` instead of what was found.

    Args:
        found_BChw: displacements in steps, x and y for each pair of channels.
        texture_B3hw: of the picture, per squared step.
        shares_K: squared share of each pair in the displacement of a frame, summed over frames.
        price_B: bits that a squared error is worth in each clip.
    """
    found = torch.unflatten(found_BChw, 1, (-1, 2))
    weights = price_B[:, None, None, None] * shares_K[:, None, None]
    choice = _Choice(found, [sums[:, None] * weights for sums in texture_B3hw.unbind(1)])
    near, still = choice.settled(choice.near), choice.settled(torch.zeros_like(found))
    better = choice.bits(still) < choice.bits(near)
    return torch.where(better[:, :, None, None, None], still, near).flatten(1, 2)


class _Choice:
    """The cost of motion ``(B, K, 2, h, w)`` in bits, and steps that lower it."""

    def __init__(self, found: Tensor, textures: Sequence[Tensor]) -> None:
        self.near = torch.floor(found + 0.5)
        self._found = found
        self._xx, self._xy, self._yy = textures
        height, width = found.shape[-2:]
        squares = F.pad(torch.ones(height, width, device=found.device), (1, 1, 1, 1))
        self._has_neighbour = _neighbours(squares)[:, None, None] / 2
        rows, columns = (torch.arange(n, device=found.device) for n in (height, width))
        self._is_even = (rows[:, None] + columns) % 2 == 0

    def bits(self, motion: Tensor) -> Tensor:
        """Of each pair of channels, ``(B, K)``."""
        x, y = (motion - self._found).unbind(2)
        error = self._xx * x * x + 2 * self._xy * x * y + self._yy * y * y
        across, down = motion.diff(dim=4), motion.diff(dim=3)
        sent = _bits(across).sum((2, 3, 4)) + _bits(down).sum((2, 3, 4))
        return error.sum((2, 3)) + sent / 2

    def settled(self, motion: Tensor) -> Tensor:
        """A few sweeps over the squares: each takes the best of what is near and around it."""
        for _ in range(_SWEEPS):
            for half in (self._is_even, ~self._is_even):
                for axis in range(2):
                    best = self._best(motion, axis)
                    along = torch.where(half, best, motion[:, :, axis])
                    both = (along, motion[:, :, 1]) if axis == 0 else (motion[:, :, 0], along)
                    motion = torch.stack(both, 2)
        return motion

    def _best(self, motion: Tensor, axis: int) -> Tensor:
        """For each square by itself the best x or y, ``(B, K, h, w)``."""
        current, near = motion[:, :, axis], self.near[:, :, axis]
        around = _neighbours(F.pad(current, (1, 1, 1, 1)))
        tried = torch.cat((torch.stack((current, current - 1, current + 1, near)), around))
        off = tried - self._found[:, :, axis]
        other = motion[:, :, 1 - axis] - self._found[:, :, 1 - axis]
        cost = ((self._yy if axis else self._xx) * off + 2 * self._xy * other) * off
        for neighbour, share in zip(around, self._has_neighbour, strict=True):
            cost += share * _bits(tried - neighbour)
        return tried.gather(0, cost.argmin(0, keepdim=True))[0]


def _neighbours(padded: Tensor) -> Tensor:
    """Left, right, above and below of what has a border of one."""
    rows, columns = padded[..., 1:-1, :], padded[..., 1:-1]
    return torch.stack((rows[..., :-2], rows[..., 2:], columns[..., :-2, :], columns[..., 2:, :]))


def _bits(difference: Tensor) -> Tensor:
    """About what a difference to a neighbour takes."""
    size = difference.abs()
    more = _ONE_BITS + _DOUBLING_BITS * torch.log2(size.clamp(min=1))
    return torch.where(size == 0, _ALIKE_BITS, more)
