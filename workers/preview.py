"""The beginning of a stream as a small H.264 file that any browser plays."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from encoder_service.frames.display import displayed_size, upright
from hypernet.decoding import NrvStream, open_stream
from hypernet.errors import Cancelled, EncodeFailed
from hypernet.video.colour import Colour, frame_from_rgb, tag

MAX_WIDTH = 640  # pixels
MAX_SECONDS = 10
MAX_WORK_SECONDS = 8.0  # decoding large frames is slow; the preview is shorter then
UNIT = Fraction(1, 90_000)
BT709 = Colour(primaries=1, transfer=1, matrix=1)
OPTIONS = {"crf": "23", "preset": "veryfast"}

Picture = NDArray[np.uint8]


def write_preview(
    stream_path: Path,
    output: Path,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Decode the first seconds of a stream into a silent MP4, at most 640 pixels wide.

    Args:
        stream_path: the stream.
        output: a new file.
        should_stop: asked between frames.
        clock: seconds that never go back.

    Raises:
        InvalidStream: it cannot be decoded.
        EncodeFailed: the pictures cannot be coded.
        Cancelled: ``should_stop`` said so.
    """
    with open_stream(stream_path) as stream:
        try:
            with av.open(str(output), "w", format="mp4", options={"movflags": "faststart"}) as file:
                width, height = map(_even, displayed_size(stream.info, MAX_WIDTH))
                video = file.add_stream("libx264", rate=25, options=OPTIONS)
                video.width, video.height, video.pix_fmt = width, height, "yuv420p"
                video.codec_context.time_base = UNIT
                tag(video.codec_context, BT709)
                for seconds, rgb_HWC in _beginning(stream, clock):
                    if should_stop():
                        raise Cancelled("the worker was told to stop")
                    picture = frame_from_rgb(rgb_HWC, "yuv420p", BT709, (width, height))
                    picture.time_base, picture.pts = UNIT, round(seconds / UNIT)
                    file.mux(video.encode(picture))
                file.mux(video.encode(None))
        except av.error.FFmpegError as error:
            raise EncodeFailed(f"the preview cannot be written: {error}") from error


def _beginning(stream: NrvStream, clock: Callable[[], float]) -> Iterator[tuple[Fraction, Picture]]:
    """When, from 0, and what is shown."""
    deadline = clock() + MAX_WORK_SECONDS
    first_pts: int | None = None
    for frame in stream.frames():
        first_pts = frame.pts if first_pts is None else first_pts
        seconds = (frame.pts - first_pts) * stream.info.time_base
        if seconds >= MAX_SECONDS or clock() > deadline:
            return
        yield seconds, upright(frame.rgb_HWC, stream.info.rotation)


def _even(length: int) -> int:
    """What 4:2:0 can hold; nothing else plays everywhere."""
    return max(2, length // 2 * 2)
