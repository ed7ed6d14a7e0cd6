"""Where training starts: a decoder that inverts a cosine transform, beside a small network.

Learning many times faster than from random kernels, it costs nothing afterwards: every value is
trained.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hypernet.decoders.spectrum import (
    CHROMA_CELL,
    CLIP_FRAMES,
    GRID_CELL,
    colour_matrix,
    cosines,
    spatial_cosines,
    spectrum,
)
from hypernet.decoders.tubelet import QUARTER_PLANES, TubeletConfig
from hypernet.decoders.tubelet_layers import KERNEL_SCALE


def initial_base(config: TubeletConfig, generator: torch.Generator) -> dict[str, Tensor]:
    """Kernels to start training from: cosine patterns, restoring layers that change nothing."""
    patterns = spectrum(config.grid_channels)
    width = config.width
    chroma = spatial_cosines(patterns.chroma_frequencies, CHROMA_CELL)
    return {
        "time": cosines(CLIP_FRAMES).T.contiguous(),
        "luma": spatial_cosines(patterns.luma_frequencies, GRID_CELL).T / KERNEL_SCALE,
        # Half the gain: a colour difference at half size covers four pixels.
        "chroma": chroma.T / (2 * KERNEL_SCALE),
        "gains.weight": _random((2 * width, config.tile_channels, 1, 1), generator),
        "gains.bias": torch.zeros(2 * width),
        "restore_in.weight": _random((width, QUARTER_PLANES, 3, 3), generator),
        "restore_in.bias": torch.zeros(width),
        "restore_out.weight": torch.cat(
            (_planes_to_rgb(), 0.05 * _random((48, width, 1, 1), generator)), 1
        ),
        "restore_out.bias": torch.full((48,), 0.5),
    }


def _random(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[1:]))


def _planes_to_rgb() -> Tensor:
    """Luma in 4x4 and colour differences in 2x2 pixels to RGB in 4x4: ``(48, 24, 1, 1)``."""
    to_rgb = colour_matrix().T
    kernel = torch.zeros(3, 4, 4, QUARTER_PLANES)
    for y in range(4):
        for x in range(4):
            kernel[:, y, x, 4 * y + x] = to_rgb[:, 0]
            for plane in (1, 2):
                place = 16 + 4 * (plane - 1) + 2 * (y // 2) + x // 2
                kernel[:, y, x, place] = to_rgb[:, plane]
    return kernel.view(48, QUARTER_PLANES, 1, 1)
