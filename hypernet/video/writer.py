"""Frames to a file: MP4, lossless Matroska, Y4M, or a folder of PNG."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from math import lcm
from pathlib import Path
from typing import BinaryIO, cast

import av
import av.error
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from hypernet.bitstream.output import atomic_output
from hypernet.errors import EncodeFailed, InvalidSettings, InvalidStream, OutputNotWritable
from hypernet.video.audio_output import AS_THEY_ARE, AudioOutput
from hypernet.video.colour import frame_from_rgb, tag, writable_colour
from hypernet.video.demux import BITEXACT
from hypernet.video.matroska import set_display_aspect
from hypernet.video.pictures import write_pictures, write_y4m
from hypernet.video.probe import VideoInfo
from hypernet.video.reader import Frame
from hypernet.video.sink import Sink

_ASSUMED_RATE = Fraction(25)
_MICROSECONDS = 1_000_000
_MAX_ASPECT = 65535
_MAX_SECONDS = 1 << 31
_MIN_TIMESCALE, _MAX_TIMESCALE = 10_000, (1 << 31) - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteReport:
    """What was written: the number of frames, and what the format could not hold, in words."""

    num_frames: int
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Codec:
    """How a container's pictures are coded; ``rgb``: without conversion to luma and chroma."""

    container: str
    name: str
    pixel_format: str
    odd_pixel_format: str
    rgb: bool
    options: dict[str, str]


# Without B-frames decoding order is presentation order, so that every timestamp and duration of a
# variable frame rate is kept. 4:2:0 cannot hold an odd size, 4:4:4 can.
_H264 = _Codec(
    container="mp4",
    name="libx264",
    pixel_format="yuv420p",
    odd_pixel_format="yuv444p",
    rgb=False,
    options={"crf": "12", "preset": "faster", "bf": "0"},
)
_FFV1 = _Codec(
    container="matroska",
    name="ffv1",
    pixel_format="bgr0",
    odd_pixel_format="bgr0",
    rgb=True,
    options={"level": "3", "slicecrc": "1"},
)


def write_video(
    path: Path | str,
    frames: Iterable[Frame],
    info: VideoInfo,
    audio: bytes | None = None,
    size: tuple[int, int] | None = None,
    *,
    first_number: int = 0,
) -> WriteReport:
    """Write frames in the format that the name asks for.

    ``.mp4`` is H.264 at crf 12 with the copied audio; ``.mkv`` lossless RGB (FFV1) with the copied
    audio; ``.y4m`` 4:4:4 at the average rate; a name that ends in a slash, is a folder's or has no
    suffix, a folder of ``000000.png``, ``000001.png``, ..., numbered from ``first_number``. Time
    base, timestamps, rotation, pixel aspect and colour come from ``info``. If the first timestamp
    is negative, pictures and sound are moved to start at zero. ``size`` (width, height) scales the
    picture and keeps its display shape.

    The file appears complete or not at all; what was there before stays until then.

    Raises:
        InvalidSettings: a suffix that is not supported.
        OutputNotWritable: missing folder, no permission, disk full.
        InvalidStream: ``audio`` is damaged.
    """
    target = Path(path)
    frames = _at_least_one(frames)
    if str(path).endswith("/") or target.is_dir() or not target.suffix:
        number = write_pictures(target, frames, size, first_number)
        return _report(number, audio, "a folder of pictures")
    if target.suffix.lower() not in {".mp4", ".mkv", ".y4m"}:
        raise InvalidSettings(
            f"cannot write {target.suffix} files; use .mp4, .mkv, .y4m or a folder name ending in /"
        )
    with atomic_output(target) as file:
        if target.suffix.lower() == ".y4m":
            info = _scaled(info, size)
            return _report(write_y4m(file, frames, info, _rate(info)), audio, "Y4M")
        codec = _H264 if target.suffix.lower() == ".mp4" else _FFV1
        try:
            return _write_container(file, codec, frames, _scaled(info, size), audio)
        except av.error.FFmpegError as error:
            if isinstance(error, OSError):
                raise OutputNotWritable(f"cannot write {path}: {error.strerror}") from error
            raise EncodeFailed(f"cannot write {path}: {error}") from error


def _write_container(
    file: BinaryIO, codec: _Codec, frames: Iterator[Frame], info: VideoInfo, audio: bytes | None
) -> WriteReport:
    first = next(frames)
    shift = max(0, -first.pts)
    sink = Sink(file)
    with av.open(sink, "w", format=codec.container) as output:
        output.flags |= BITEXACT
        video = _VideoOutput(output, codec, info)
        with AudioOutput(output, audio, shift * info.time_base) as sound:
            output.container_options.update(_timing_options(codec, info, sound.sample_rates))
            for frame in chain([first], frames):
                sound.write_until((frame.pts + shift) * info.time_base)
                video.write(frame.rgb_HWC, frame.pts + shift)
                sink.check()
            video.finish()
            sound.write_until(None)
    sink.check()
    dropped = sound.dropped
    if codec is _FFV1 and info.pixel_aspect != 1:
        file.flush()
        if not set_display_aspect(Path(file.name), info.pixel_aspect * info.width / info.height):
            dropped.append("the pixel aspect ratio")
    return WriteReport(num_frames=video.num_frames, dropped=tuple(dropped))


class _VideoOutput:
    """The video stream of an output container."""

    def __init__(self, output: OutputContainer, codec: _Codec, info: VideoInfo) -> None:
        self.num_frames = 0
        self._output = output
        self._info = info
        self._colour = writable_colour(info.colour, rgb=codec.rgb)
        self._unit = _fine_unit(info)
        stream = output.add_stream(
            codec.name,
            rate=_rate(info),
            options=codec.options,
            width=info.width,
            height=info.height,
            time_base=self._unit,
        )
        self._stream = cast("VideoStream", stream)
        odd = info.width % 2 or info.height % 2
        self._stream.pix_fmt = codec.odd_pixel_format if odd else codec.pixel_format
        self._stream.codec_context.sample_aspect_ratio = info.pixel_aspect
        tag(self._stream.codec_context, self._colour)
        if info.rotation:
            self._stream.set_display_rotation(-info.rotation)

    def write(self, rgb_HWC: NDArray[np.uint8], pts: int) -> None:
        if pts * self._info.time_base > _MAX_SECONDS:
            raise InvalidStream(f"a frame is to be shown after {_MAX_SECONDS} seconds or later")
        size = self._info.width, self._info.height
        picture = frame_from_rgb(rgb_HWC, self._stream.pix_fmt or "", self._colour, size)
        picture.time_base = self._unit
        picture.pts = round(pts * self._info.time_base / self._unit)
        self._output.mux(self._stream.encode(picture))
        self.num_frames += 1

    def finish(self) -> None:
        self._output.mux(self._stream.encode(None))


def _timing_options(codec: _Codec, info: VideoInfo, sample_rates: list[int]) -> dict[str, str]:
    """Keep times as they are: fine enough units in MP4, no shift of everything in Matroska."""
    if codec is _FFV1:
        return AS_THEY_ARE | {"write_crc32": "0"}
    units = [_fine_unit(info).denominator, *(rate for rate in sample_rates if rate > 0)]
    movie = lcm(*units) if lcm(*units) <= _MAX_TIMESCALE else max(units)
    return {"video_track_timescale": str(units[0]), "movie_timescale": str(movie)}


def _fine_unit(info: VideoInfo) -> Fraction:
    """A unit that divides the time base and is short beside any frame's duration."""
    denominator = info.time_base.denominator
    fine = denominator * -(-_MIN_TIMESCALE // denominator)
    return Fraction(1, fine if fine <= _MAX_TIMESCALE else _MICROSECONDS)


def _scaled(info: VideoInfo, size: tuple[int, int] | None) -> VideoInfo:
    """The output's size, and the pixel aspect in terms that every container can hold."""
    width, height = size or (info.width, info.height)
    aspect = info.pixel_aspect * Fraction(info.width * height, info.height * width)
    aspect = min(max(aspect, Fraction(1, _MAX_ASPECT)), Fraction(_MAX_ASPECT))
    if aspect > 1:
        aspect = 1 / (1 / aspect).limit_denominator(_MAX_ASPECT)
    return replace(
        info, width=width, height=height, pixel_aspect=aspect.limit_denominator(_MAX_ASPECT)
    )


def _rate(info: VideoInfo) -> Fraction:
    rate = min(max(info.frame_rate or _ASSUMED_RATE, Fraction(1, 10_000)), Fraction(10_000))
    return rate.limit_denominator(1 << 20)


def _report(num_frames: int, audio: bytes | None, format_name: str) -> WriteReport:
    dropped = () if audio is None else (f"the audio does not fit into {format_name}",)
    return WriteReport(num_frames=num_frames, dropped=dropped)


def _at_least_one(frames: Iterable[Frame]) -> Iterator[Frame]:
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise EncodeFailed("there is no frame to write")
    return chain([first], frames)
