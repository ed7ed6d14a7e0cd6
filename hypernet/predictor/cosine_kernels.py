"""The shipped kernels of tubelets: cosine patterns.

Trained ones did not keep up with them (decision 44): which integers are sent is chosen by their
bits, and that needs patterns that do not share any error.
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


def cosine_kernels(config: TubeletConfig) -> dict[str, Tensor]:
    """Kernels of a decoder under its names, see ``tubelet.base_shapes``."""
    patterns = spectrum(config.grid_channels)
    chroma = spatial_cosines(patterns.chroma_frequencies, CHROMA_CELL)
    return {
        "time": cosines(CLIP_FRAMES).T.contiguous(),
        "luma": spatial_cosines(patterns.luma_frequencies, GRID_CELL).T / KERNEL_SCALE,
        # Half the gain: a colour difference at half size covers four pixels.
        "chroma": chroma.T / (2 * KERNEL_SCALE),
    }
