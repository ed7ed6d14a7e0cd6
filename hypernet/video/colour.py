"""Colour: the one conversion from decoded frames to RGB, and back for writing.

A frame is converted with the matrix and range it is tagged with. Untagged YUV is taken as BT.601,
limited range, whatever its size; untagged RGB as full range. This is what swscale does through
PyAV's ``to_ndarray(format="rgb24")``, and every codec is measured on exactly that.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

UNSPECIFIED = 2
RGB_MATRIX = 0
#: Matrix codes of ITU-T H.273 that convert to RGB here: RGB, BT.709, unspecified, FCC, BT.601 (two
#: codes), SMPTE 240M, BT.2020 non-constant luminance.
MATRICES = frozenset({RGB_MATRIX, 1, UNSPECIFIED, 4, 5, 6, 7, 9})
#: Transfer codes of high dynamic range video: PQ and HLG.
HDR_TRANSFERS = frozenset({16, 18})

_of_thread = threading.local()

_LIMITED, _FULL = 1, 2
_BT709 = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Colour:
    """Colour description as code points of ITU-T H.273; 2 is unspecified."""

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    full_range: bool = False


UNTAGGED = Colour()


def rgb_of(frame: VideoFrame) -> NDArray[np.uint8]:
    """The frame as 8-bit RGB, ``rgb_HWC``; see the module for the rule for untagged colour."""
    return np.asarray(_reformatter().reformat(frame, format="rgb24").to_ndarray(), dtype=np.uint8)


def _reformatter() -> VideoReformatter:
    """This thread's own: making one takes longer than converting a frame with it."""
    if not hasattr(_of_thread, "reformatter"):
        _of_thread.reformatter = VideoReformatter()
    reformatter: VideoReformatter = _of_thread.reformatter
    return reformatter


def colour_of(frame: VideoFrame) -> Colour:
    """The tags of a decoded frame (the coded stream's own, else its container's)."""
    implied = is_rgb(frame) or frame.format.name.startswith(("yuvj", "gray"))
    full = frame.color_range == _FULL or (implied and frame.color_range != _LIMITED)
    return Colour(
        primaries=_known(frame.color_primaries),
        transfer=_known(frame.color_trc),
        matrix=RGB_MATRIX if is_rgb(frame) else _known(frame.colorspace) or UNSPECIFIED,
        full_range=full,
    )


def frame_from_rgb(
    rgb_HWC: NDArray[np.uint8], pixel_format: str, colour: Colour, size: tuple[int, int]
) -> VideoFrame:
    """A frame for an encoder, converted with ``colour``'s matrix and range and tagged with it.

    ``size`` is (width, height); the picture is scaled to it if it differs. ``colour`` must be one
    that ``writable_colour`` returned for this kind of pixel format.
    """
    source = VideoFrame.from_ndarray(np.ascontiguousarray(rgb_HWC), format="rgb24")
    width, height = size
    interpolation = av.video.reformatter.Interpolation.BICUBIC
    if colour.matrix == RGB_MATRIX:
        frame = _reformatter().reformat(
            source, width, height, pixel_format, interpolation=interpolation
        )
    else:
        frame = _reformatter().reformat(
            source,
            width,
            height,
            pixel_format,
            dst_colorspace=colour.matrix,
            dst_color_range=_FULL if colour.full_range else _LIMITED,
            interpolation=interpolation,
        )
    tag(frame, colour)
    return frame


def writable_colour(colour: Colour, *, rgb: bool) -> Colour:
    """The nearest description that YUV (or RGB) pixels can truthfully carry."""
    if rgb:
        matrix, full = RGB_MATRIX, True
    else:
        known = colour.matrix if colour.matrix in MATRICES else UNSPECIFIED
        matrix = _BT709 if known == RGB_MATRIX else known
        full = colour.full_range and colour.matrix != RGB_MATRIX
    return Colour(
        primaries=colour.primaries, transfer=colour.transfer, matrix=matrix, full_range=full
    )


def tag(target: VideoFrame | av.VideoCodecContext, colour: Colour) -> None:
    """Write the description on a frame or an encoder."""
    target.color_primaries = colour.primaries
    target.color_trc = colour.transfer
    target.colorspace = colour.matrix
    target.color_range = _FULL if colour.full_range else _LIMITED


def is_rgb(frame: VideoFrame) -> bool:
    """Whether the pixels are RGB rather than luma and chroma."""
    return frame.format.is_rgb


def _known(code: int) -> int:
    """FFmpeg's value, with the reserved 0 and 3 taken as unspecified."""
    return code if code not in {0, 3} else UNSPECIFIED
