"""Moving pictures along smooth displacement fields, the same way in encoder and decoder.

A field is given in pixels at the centres of 32-pixel squares and interpolated between them, so no
border of a square can show.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

MOTION_CELL = 32
"""Pixels along each side of the squares that a displacement is sent for."""
MAX_MOTION = 128.0
"""Largest displacement in pixels."""


def field_size(height: int, width: int) -> tuple[int, int]:
    """Squares that cover a frame."""
    return -(-height // MOTION_CELL), -(-width // MOTION_CELL)


def dense_field(motion_B2hw: Tensor, height: int, width: int, cell: int = MOTION_CELL) -> Tensor:
    """Displacement of every pixel, in pixels: ``(B, 2, height, width)``, x then y.

    A ``cell`` of half the size gives the field of a picture of half the size.
    """
    motion = bounded(motion_B2hw) * (cell / MOTION_CELL)
    rows = interpolation(height, motion.shape[-2], cell).to(motion)
    columns = interpolation(width, motion.shape[-1], cell).to(motion)
    return rows @ motion @ columns.T


def moved_points(motion_B2hw: Tensor, height: int, width: int, cell: int = MOTION_CELL) -> Tensor:
    """Each pixel's place plus its displacement, in unit coordinates: ``(B, height, width, 2)``.

    What ``sample_at`` takes, made at once from what is sent: much less memory is touched than
    by way of a dense field.
    """
    motion = to_unit(bounded(motion_B2hw) * (cell / MOTION_CELL), (height, width))
    lines = interpolation(height, motion.shape[-2], cell).to(motion) @ motion
    own = _own_place(height).to(motion).expand(len(lines), -1, -1, -1)
    across = _across(width, motion.shape[-1], cell).to(motion)
    # x and y stay apart in memory, which sampling takes as well.
    return (torch.cat((lines, own), 3) @ across).permute(0, 2, 3, 1)


def bounded(motion: Tensor) -> Tensor:
    """Displacements as they are used: numbers within ``MAX_MOTION``."""
    # Damaged weights may hold anything, and sampling at NaN reads outside of memory.
    return motion.nan_to_num(0.0).clamp(-MAX_MOTION, MAX_MOTION)


@functools.lru_cache(maxsize=32)
def interpolation(pixels: int, squares: int, cell: int) -> Tensor:
    """Linear between the centres of the squares, constant outside: ``(pixels, squares)``."""
    with torch.inference_mode(mode=False):
        position = ((torch.arange(pixels) + 0.5) / cell - 0.5).clamp(0, squares - 1)
        return (1 - (position[:, None] - torch.arange(squares)).abs()).clamp(min=0)


@functools.lru_cache(maxsize=32)
def _own_place(height: int) -> Tensor:
    """What the last two rows of ``_across`` count for, in x and in y: ``(2, height, 2)``."""
    with torch.inference_mode(mode=False):
        place = torch.zeros(2, height, 2)
        place[0, :, 0] = 1
        place[1, :, 1] = (torch.arange(height) + 0.5) * (2 / height) - 1
        return place


@functools.lru_cache(maxsize=32)
def _across(width: int, squares: int, cell: int) -> Tensor:
    """From squares to pixels of a row, then each pixel's own place: ``(squares + 2, width)``."""
    with torch.inference_mode(mode=False):
        x = (torch.arange(width) + 0.5) * (2 / width) - 1
        own = torch.stack((x, torch.ones(width)))
        return torch.cat((interpolation(width, squares, cell).T, own))


def sample(pictures_BCHW: Tensor, field_B2HW: Tensor, mode: str = "bilinear") -> Tensor:
    """Pictures read at each pixel's place plus its displacement; the border repeats outside."""
    size = (pictures_BCHW.shape[-2], pictures_BCHW.shape[-1])
    where = identity(*size).to(pictures_BCHW) + to_unit(field_B2HW, size)
    return sample_at(pictures_BCHW, where.permute(0, 2, 3, 1), mode)


def sample_at(pictures_BCHW: Tensor, points_BHW2: Tensor, mode: str = "bilinear") -> Tensor:
    """Pictures read at points in unit coordinates (x, y); the border repeats outside."""
    return F.grid_sample(
        pictures_BCHW, points_BHW2, mode=mode, padding_mode="border", align_corners=False
    )


@functools.lru_cache(maxsize=8)
def identity(height: int, width: int) -> Tensor:
    """Each pixel's own place in unit coordinates: ``(1, 2, height, width)``."""
    with torch.inference_mode(mode=False):
        x = (torch.arange(width) + 0.5) * (2 / width) - 1
        y = (torch.arange(height) + 0.5) * (2 / height) - 1
        return torch.stack((x.expand(height, -1), y[:, None].expand(-1, width)))[None]


def to_unit(field_B2HW: Tensor, size: tuple[int, int]) -> Tensor:
    """Displacements from pixels to unit coordinates, in which a picture is 2 wide and 2 high."""
    height, width = size
    return field_B2HW * field_B2HW.new_tensor((2 / width, 2 / height)).view(2, 1, 1)


def inverse_field(field_B2HW: Tensor, iterations: int = 4) -> Tensor:
    """The field that leads back: ``inverse(x + field(x)) = -field(x)``, by fixed-point steps."""
    inverse = -field_B2HW
    for _ in range(iterations):
        inverse = -sample(field_B2HW, inverse)
    return inverse


def halved(pictures: Tensor) -> Tensor:
    """Pictures of half the size, ``(..., H, W)``; the last odd row or column stands for two."""
    height, width = pictures.shape[-2:]
    if height % 2 or width % 2:
        pictures = F.pad(pictures, (0, width % 2, 0, height % 2), mode="replicate")
    # Average pooling takes ten times as long.
    rows = pictures[..., ::2, :] + pictures[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) * 0.25


def enlarged(field_B2HW: Tensor, factor: int) -> Tensor:
    """The same field for a picture that is ``factor`` times as large."""
    return factor * F.interpolate(
        field_B2HW, scale_factor=factor, mode="bilinear", align_corners=False
    )
