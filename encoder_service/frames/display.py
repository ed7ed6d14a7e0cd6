"""Frames as they are to be looked at: turned, with square pixels, no larger than asked for."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from av import CodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from hypernet.video.probe import VideoInfo

JPEG_OPTIONS = {"qmin": "2", "qmax": "2"}  # of 2 to 31; about what others call quality 95


def upright(rgb_HWC: NDArray[np.uint8], rotation: int) -> NDArray[np.uint8]:
    """A stored frame turned by ``rotation`` degrees clockwise, a multiple of 90."""
    return np.ascontiguousarray(np.rot90(rgb_HWC, -(rotation // 90)))


def displayed_size(info: VideoInfo, max_width: int | None) -> tuple[int, int]:
    """Width and height in square pixels as shown, neither larger than stored or ``max_width``."""
    width, height, aspect = Fraction(info.width), Fraction(info.height), info.pixel_aspect
    if aspect < 1:
        width *= aspect
    else:
        height /= aspect
    if info.rotation % 180:
        width, height = height, width
    scale = Fraction(1) if max_width is None else min(Fraction(1), max_width / width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def jpeg_of(rgb_HWC: NDArray[np.uint8], size: tuple[int, int]) -> bytes:
    """One picture as a JPEG file of ``size`` (width, height)."""
    frame = VideoFrame.from_ndarray(rgb_HWC, format="rgb24")
    frame = frame.reformat(*size, "yuvj444p", interpolation=Interpolation.BICUBIC)
    encoder = CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuvj444p"
    encoder.time_base = Fraction(1, 25)
    encoder.options = JPEG_OPTIONS
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
