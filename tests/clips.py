"""Small videos, made from nothing."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_clip(path: Path, *, num_frames: int, width: int = 48, height: int = 32) -> None:
    """A drifting gradient, coded without loss."""
    x = np.arange(width)[None, :, None] + np.zeros((height, 1, 3))
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for t in range(num_frames):
            picture = (120 + 60 * np.sin((x + 3 * t) / 9)).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
