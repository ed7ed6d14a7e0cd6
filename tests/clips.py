"""Synthetic clips for tests: small videos of a moving texture with the properties asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Sound:
    """An audio track: noise of that length, starting at ``offset_seconds``."""

    codec: str = "aac"
    rate: int = 48000
    seconds: float = 0.4
    offset_seconds: float = 0.0
    layout: str = "stereo"
    language: str = ""
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tags:
    """Colour code points of ITU-T H.273, and FFmpeg's range (1 limited, 2 full, 0 untagged)."""

    primaries: int = 2
    transfer: int = 2
    matrix: int = 2
    range: int = 0


UNTAGGED = Tags()


def picture(number: int = 0, size: tuple[int, int] = (64, 48), *, scene: int = 0) -> Picture:
    """Frame ``number`` of a scene, ``rgb_HWC``: a drifting texture with smoother colour."""
    width, height = size
    rng = np.random.default_rng(scene)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)

    def wave(frequency: float, amplitude: float) -> NDArray[np.float32]:
        angle, phase = rng.uniform(0, 2 * np.pi, 2)
        along = (x + 0.7 * number) * np.cos(angle) + (y + 0.3 * number) * np.sin(angle)
        return np.asarray(amplitude * np.sin(along * frequency * 2 * np.pi + phase), np.float32)

    luma = wave(0.02, 20) + wave(0.06, 15) + wave(0.12, 8) + wave(0.23, 4)
    base = rng.uniform(70, 180, 3)
    channels = [luma + base[channel] + wave(0.015, 15) for channel in range(3)]
    return np.asarray(np.clip(np.stack(channels, axis=-1), 0, 255), np.uint8)


def moving(num_frames: int, size: tuple[int, int] = (64, 48), *, scene: int = 0) -> list[Picture]:
    """The first frames of a scene."""
    return [picture(number, size, scene=scene) for number in range(num_frames)]


def make_clip(
    path: Path | str,
    *,
    frames: Sequence[Picture] | None = None,
    num_frames: int = 10,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    fps: Fraction | int = 25,
    time_base: Fraction | None = None,
    pts: Sequence[int] | None = None,
    rotation: int = 0,
    pixel_aspect: Fraction | None = None,
    tags: Tags = UNTAGGED,
    audio: Sequence[Sound] = (),
    codec_options: dict[str, str] | None = None,
    container: str | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write a clip and return its path.

    ``frames`` (default: a moving texture) are RGB; ``pts`` (default: constant rate) is in
    ``time_base`` (default: 1/12800 second); ``rotation`` is clockwise. The suffix names the format.
    """
    pictures = moving(num_frames, size) if frames is None else frames
    unit = time_base or Fraction(1, 12800)
    times = [round(i / (fps * unit)) for i in range(len(pictures))] if pts is None else list(pts)
    if container is None and Path(path).suffix == ".mp4":
        container_options = {"video_track_timescale": str(unit.denominator)} | (
            container_options or {}
        )
    with av.open(
        str(path), "w", format=container, container_options=container_options or {}
    ) as output:
        height, width, _ = pictures[0].shape
        stream = cast(
            "VideoStream",
            output.add_stream(
                codec,
                rate=Fraction(fps),
                options=codec_options or {},
                width=width,
                height=height,
                time_base=unit,
            ),
        )
        stream.pix_fmt = pix_fmt
        stream.codec_context.thread_count = 1
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation:
            stream.set_display_rotation(-rotation)
        _tag(stream.codec_context, tags)
        tracks = [_add_sound(output, sound) for sound in audio]
        for rgb, time in zip(pictures, times, strict=True):
            frame = _frame(rgb, pix_fmt, tags)
            frame.pts, frame.time_base = time, unit
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        for track, sound in zip(tracks, audio, strict=True):
            _encode_sound(output, track, sound)
    return Path(path)


def _frame(rgb: Picture, pix_fmt: str, tags: Tags) -> VideoFrame:
    source = VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    if source.format.name == pix_fmt:
        return source
    matrix = {} if tags.matrix in {0, 2} else {"dst_colorspace": tags.matrix}
    frame = source.reformat(format=pix_fmt, dst_color_range=tags.range or None, **matrix)
    _tag(frame, tags)
    return frame


def _tag(target: Any, tags: Tags) -> None:
    target.color_primaries = tags.primaries
    target.color_trc = tags.transfer
    target.colorspace = tags.matrix
    target.color_range = tags.range


def _add_sound(output: OutputContainer, sound: Sound) -> AudioStream:
    options = dict(sound.options)
    stream = cast("AudioStream", output.add_stream(sound.codec, rate=sound.rate, options=options))
    stream.codec_context.layout = sound.layout
    if sound.language:
        stream.metadata["language"] = sound.language
    return stream


def _encode_sound(output: OutputContainer, stream: AudioStream, sound: Sound) -> None:
    rng = np.random.default_rng(1)
    context = stream.codec_context
    total, start = round(sound.seconds * sound.rate), round(sound.offset_seconds * sound.rate)
    for position in range(0, total, context.frame_size or 1024):
        count = min(context.frame_size or 1024, total - position)
        noise = rng.uniform(-0.1, 0.1, (context.layout.nb_channels, count)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout=sound.layout)
        frame.sample_rate, frame.time_base = sound.rate, Fraction(1, sound.rate)
        frame.pts = start + position
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def write_clip(path: Path, *, num_frames: int, width: int = 48, height: int = 32) -> None:
    """A moving texture, coded without loss."""
    make_clip(path, num_frames=num_frames, size=(width, height), codec="ffv1")
