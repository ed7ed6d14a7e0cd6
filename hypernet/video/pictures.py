"""Frames as plain pictures: a Y4M file, or a folder of PNG files."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from hypernet.errors import OutputNotWritable
from hypernet.video.colour import RGB_MATRIX, Colour, frame_from_rgb
from hypernet.video.probe import VideoInfo
from hypernet.video.reader import Frame


def write_y4m(file: BinaryIO, frames: Iterable[Frame], info: VideoInfo, rate: Fraction) -> int:
    """Write planar 4:4:4 at a constant rate; returns the number of frames.

    Y4M cannot name a matrix, so it is that of untagged colour; range and aspect are in its header.
    """
    colour = Colour(full_range=info.colour.full_range and info.colour.matrix != RGB_MATRIX)
    aspect = info.pixel_aspect
    file.write(
        f"YUV4MPEG2 W{info.width} H{info.height} F{rate.numerator}:{rate.denominator} Ip "
        f"A{aspect.numerator}:{aspect.denominator} C444 "
        f"XCOLORRANGE={'FULL' if colour.full_range else 'LIMITED'}\n".encode()
    )
    num_frames = 0
    for frame in frames:
        num_frames += 1
        picture = frame_from_rgb(frame.rgb_HWC, "yuv444p", colour, (info.width, info.height))
        file.write(b"FRAME\n")
        for plane in picture.to_ndarray():
            file.write(np.ascontiguousarray(plane).tobytes())
    return num_frames


def write_pictures(
    folder: Path, frames: Iterable[Frame], size: tuple[int, int] | None, first_number: int = 0
) -> int:
    """Write ``000000.png``, ``000001.png``, ..., from a first number on; returns how many.

    The folder must be new or empty, and appears complete or not at all.

    Raises:
        OutputNotWritable: the folder holds something, or cannot be written.
    """
    folder = folder.resolve()
    temporary = folder.parent / f".{secrets.token_hex(8)}.part"
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise FileExistsError(None, "it exists and is not an empty folder; name a new one")
        temporary.mkdir()
        num_frames = 0
        for frame in frames:
            name = temporary / f"{first_number + num_frames:06d}.png"
            name.write_bytes(png_of(frame.rgb_HWC, size))
            num_frames += 1
        os.replace(temporary, folder)  # noqa: PTH105 -- replaces an empty folder in one step
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise OutputNotWritable(f"cannot write {folder}: {error.strerror or error}") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return num_frames


def png_of(rgb_HWC: NDArray[np.uint8], size: tuple[int, int] | None = None) -> bytes:
    """One picture as a PNG file, scaled to ``size`` (width, height) if given."""
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(rgb_HWC), format="rgb24")
    if size is not None and size != (frame.width, frame.height):
        bicubic = av.video.reformatter.Interpolation.BICUBIC
        frame = frame.reformat(size[0], size[1], "rgb24", interpolation=bicubic)
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "rgb24"
    encoder.time_base = Fraction(1, 25)
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
