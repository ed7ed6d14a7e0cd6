"""Where training starts: a decoder that inverts a cosine transform.

Learning many times faster than from random kernels, it costs nothing afterwards: every value is
trained.
"""

from __future__ import annotations

from torch import Tensor

from hypernet.decoders.spectrum import (
    CHROMA_CELL,
    CLIP_FRAMES,
    GRID_CELL,
    cosines,
    spatial_cosines,
    spectrum,
)
from hypernet.decoders.tubelet import TubeletConfig
from hypernet.decoders.tubelet_layers import KERNEL_SCALE


def initial_base(config: TubeletConfig) -> dict[str, Tensor]:
    """Kernels to start training from: cosine patterns."""
    patterns = spectrum(config.grid_channels)
    chroma = spatial_cosines(patterns.chroma_frequencies, CHROMA_CELL)
    return {
        "time": cosines(CLIP_FRAMES).T.contiguous(),
        "luma": spatial_cosines(patterns.luma_frequencies, GRID_CELL).T / KERNEL_SCALE,
        # Half the gain: a colour difference at half size covers four pixels.
        "chroma": chroma.T / (2 * KERNEL_SCALE),
    }
