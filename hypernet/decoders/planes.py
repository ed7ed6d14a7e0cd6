"""Pictures as the tubelet decoder keeps them: luma, and two colour differences at half the size."""

from __future__ import annotations

import torch
from torch import Tensor

from hypernet.decoders.spectrum import colour_matrix
from hypernet.decoders.warp import halved

Planes = tuple[Tensor, Tensor]
"""Luma ``(..., 1, H, W)`` and two colour differences ``(..., 2, H/2, W/2)``."""


def planes_of(rgb_BCHW: Tensor) -> Planes:
    """Luma ``(B, 1, H, W)`` and colour differences ``(B, 2, H/2, W/2)``, zero for mid-grey."""
    colours = _colours(rgb_BCHW, colour_matrix())
    return colours[:, :1], halved(colours[:, 1:])


def rgb_of(planes: Planes) -> Tensor:
    """The inverse of ``planes_of``, each colour difference for 2x2 pixels: ``(B, 3, H, W)``."""
    luma, chroma = planes
    doubled = chroma.repeat_interleave(2, -2).repeat_interleave(2, -1)
    colours = torch.matmul(colour_matrix().T.to(luma), torch.cat((luma, doubled), 1).flatten(2))
    return torch.unflatten(colours, 2, luma.shape[-2:]) + 0.5


def luma_of(rgb_BCHW: Tensor) -> Tensor:
    """``planes_of`` without colour: ``(B, 1, H, W)``."""
    return _colours(rgb_BCHW, colour_matrix()[:1])


def _colours(rgb_BCHW: Tensor, matrix_N3: Tensor) -> Tensor:
    # A product, because a 1x1 convolution of three channels unfolds its input first.
    colours = torch.matmul(matrix_N3.to(rgb_BCHW), (rgb_BCHW - 0.5).flatten(2))
    return torch.unflatten(colours, 2, rgb_BCHW.shape[-2:])
