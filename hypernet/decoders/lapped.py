"""Cells that overlap: orthogonal filters across the borders between them.

A transform of cells side by side shows their borders wherever values are coarse. Filtered across
the borders before, and back after, its patterns reach half a cell beyond their cell and fade out:
the lapped orthogonal transform (Malvar and Staelin 1989), as pre- and post-filters around an
ordinary transform (Tran, Liang and Tu 2003). Borders of the picture stay as they are.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from hypernet.decoders.spectrum import cosines


def lapped(planes: Tensor, cell: int) -> Tensor:
    """Planes ``(..., H, W)``, whole cells, before their cells are transformed."""
    return _across_both(planes, rotation(cell).to(planes), cell)


def unlapped(planes: Tensor, cell: int) -> Tensor:
    """The inverse of ``lapped``."""
    return _across_both(planes, rotation(cell).T.to(planes), cell)


@functools.cache
def rotation(cell: int) -> Tensor:
    """What is done to differences of mirrored pixels: ``(cell / 2, cell / 2)``, orthogonal."""
    with torch.inference_mode(mode=False):
        half = cell // 2
        odd = 2 * torch.arange(half) + 1
        fourth = torch.cos(torch.outer(odd, odd) * (math.pi / (4 * half))) * math.sqrt(2 / half)
        return cosines(half).T @ fourth


def multiply_adds(height: int, width: int, cell: int) -> int:
    """Of filtering one plane of whole cells."""
    borders = height * (width // cell - 1) + width * (height // cell - 1)
    return borders * (cell // 2) ** 2


def _across_both(planes: Tensor, rotation_DD: Tensor, cell: int) -> Tensor:
    columns = _across(planes, rotation_DD, cell)
    return _across(columns.mT, rotation_DD, cell).mT.contiguous()


def _across(planes: Tensor, rotation_DD: Tensor, cell: int) -> Tensor:
    """Across the borders between columns of cells."""
    half = cell // 2
    if planes.shape[-1] <= cell:
        return planes
    around = torch.unflatten(planes[..., half:-half], -1, (-1, 2, half))
    before, after = around[..., 0, :], around[..., 1, :].flip(-1)
    alike, apart = before + after, (before - after) @ rotation_DD.T
    filtered = torch.stack(((alike + apart) / 2, ((alike - apart) / 2).flip(-1)), -2)
    return torch.cat((planes[..., :half], filtered.flatten(-3), planes[..., -half:]), -1)
