"""Sanity floors: codecs so simple that a learned one must beat them at equal rate.

Their files are real and complete like any other codec's, so that bytes compare.
"""

from __future__ import annotations

import dataclasses
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame

from hypernet.errors import OutputNotWritable, UnreadableVideo
from hypernet.evaluation.anchors import X264_MEDIUM, frame_rate
from hypernet.evaluation.codecs import EncodeStats, read_rgb, stats_since
from hypernet.evaluation.encoders import write_video
from hypernet.evaluation.metrics import Frame
from hypernet.video.demux import open_container

_HEADER = struct.Struct("<HHIH")  # width, height, frames, downscaling factor
_ZLIB_LEVEL = 9


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanFrame:
    """One picture for the whole clip: the mean of its frames; quality is the downscaling factor."""

    name: str = field(default="mean-frame", init=False)
    qualities: tuple[int, ...] = (16, 8, 4, 2, 1)
    suffix: str = field(default=".pictures", init=False)
    threads: int = field(default=1, init=False)

    def encode(self, source: Path, output: Path, quality: int) -> EncodeStats:
        """Average, downscale by ``quality`` and deflate."""
        start = time.perf_counter()
        mean, frames = _mean(read_rgb(source))
        _write_pictures(output, frames, quality, [mean])
        return stats_since(start, output)

    def decode(self, path: Path) -> Iterator[Frame]:
        """The same picture as often as the clip has frames."""
        return _read_pictures(path)


@dataclass(frozen=True, kw_only=True, slots=True)
class DownscaledFrames:
    """Every frame downscaled, 8 bit, deflated, upscaled bicubically; quality is the factor."""

    name: str = field(default="downscaled", init=False)
    qualities: tuple[int, ...] = (32, 16, 8)
    suffix: str = field(default=".pictures", init=False)
    threads: int = field(default=1, init=False)

    def encode(self, source: Path, output: Path, quality: int) -> EncodeStats:
        """Downscale by ``quality`` and deflate the differences between frames."""
        start = time.perf_counter()
        frames = sum(1 for _ in read_rgb(source))
        _write_pictures(output, frames, quality, read_rgb(source))
        return stats_since(start, output)

    def decode(self, path: Path) -> Iterator[Frame]:
        """The pictures at the clip's size."""
        return _read_pictures(path)


@dataclass(frozen=True, kw_only=True, slots=True)
class QuarterSizeX264:
    """x264 medium at a quarter of the width and height, upscaled bicubically; quality is CRF."""

    name: str = field(default="x264-quarter", init=False)
    qualities: tuple[int, ...] = (18, 23, 28, 33, 38)
    suffix: str = field(default=".mp4", init=False)
    threads: int = field(default=X264_MEDIUM.threads, init=False)

    def encode(self, source: Path, output: Path, quality: int) -> EncodeStats:
        """Downscale to even sizes and encode; the clip's size travels as metadata."""
        start = time.perf_counter()
        height, width = next(read_rgb(source)).shape[:2]
        small_height, small_width = (max(2, round(side / 8) * 2) for side in (height, width))
        settings = dataclasses.replace(
            X264_MEDIUM.at(quality), metadata={"comment": f"{width}x{height}"}
        )
        frames = (_resized(frame, small_height, small_width, "AREA") for frame in read_rgb(source))
        write_video(frames, output, frame_rate(source), settings)
        return stats_since(start, output)

    def decode(self, path: Path) -> Iterator[Frame]:
        """The frames at the clip's size."""
        try:
            with open_container(path) as container:
                width, height = map(int, container.metadata["comment"].split("x"))
        except (KeyError, ValueError) as error:
            raise UnreadableVideo(f"{path} does not say what size to show it at") from error
        return (_resized(frame, height, width, "BICUBIC") for frame in read_rgb(path))


FLOORS = (MeanFrame(), DownscaledFrames(), QuarterSizeX264())


def _write_pictures(output: Path, frames: int, factor: int, pictures: Iterable[Frame]) -> None:
    """Write a header and the downscaled pictures (one, or one per frame) as one zlib stream.

    Each is stored as its difference from the one before, modulo 256.
    """
    compressor = zlib.compressobj(_ZLIB_LEVEL)
    previous = np.zeros(1, dtype=np.uint8)
    try:
        with output.open("wb") as file:
            for number, picture in enumerate(pictures):
                height, width = picture.shape[:2]
                if number == 0:
                    file.write(_HEADER.pack(width, height, frames, factor))
                small = _resized(picture, *_downscaled(height, width, factor), "AREA")
                file.write(compressor.compress((small - previous).tobytes()))
                previous = small
            file.write(compressor.flush())
    except OSError as error:
        raise OutputNotWritable(f"cannot write {output}: {error.strerror}") from error


def _read_pictures(path: Path) -> Iterator[Frame]:
    try:
        data = path.read_bytes()
        width, height, frames, factor = _HEADER.unpack_from(data)
        values = np.frombuffer(zlib.decompress(data[_HEADER.size :]), dtype=np.uint8)
        differences = values.reshape(-1, *_downscaled(height, width, factor), 3)
    except (OSError, struct.error, zlib.error, ValueError) as error:
        raise UnreadableVideo(f"{path} is damaged: {error}") from error
    pictures = differences.cumsum(axis=0, dtype=np.uint8)
    for number in range(frames):
        yield _resized(pictures[min(number, len(pictures) - 1)], height, width, "BICUBIC")


def _mean(frames: Iterable[Frame]) -> tuple[Frame, int]:
    total, number = np.zeros(1, dtype=np.int64), 0
    for frame in frames:
        total, number = total + frame, number + 1
    return np.rint(total / number).astype(np.uint8), number


def _downscaled(height: int, width: int, factor: int) -> tuple[int, int]:
    return -(-height // factor), -(-width // factor)


def _resized(frame_HWC: Frame, height: int, width: int, interpolation: str) -> Frame:
    if frame_HWC.shape[:2] == (height, width):
        return frame_HWC
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(frame_HWC), format="rgb24")
    resized = frame.reformat(width, height, interpolation=interpolation)
    return np.asarray(resized.to_ndarray(), dtype=np.uint8)
