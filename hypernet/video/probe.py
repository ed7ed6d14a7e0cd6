"""What a video file is, from its header and first frame; and what is refused, and why."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av.error
from av.container import InputContainer
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from hypernet.errors import UnreadableVideo, UnsupportedVideo
from hypernet.video.colour import HDR_TRANSFERS, MATRICES, UNTAGGED, Colour, colour_of, is_rgb
from hypernet.video.demux import open_video

_INTERLACED_ORDERS = frozenset({2, 3, 4, 5})
_PICTURE_BRANDS = frozenset({"mif1", "msf1", "heic", "heix", "hevc", "hevx", "avif", "avis"})
_MICROSECONDS = 1_000_000
_CLOCK = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)$")


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoInfo:
    """A source video.

    ``width`` and ``height`` are those of the stored frames, before ``rotation`` (degrees clockwise
    that a player turns them by). ``time_base`` is the unit of timestamps in seconds. ``frame_rate``
    is the average, None where the file does not say; ``estimated_frames`` and ``duration_seconds``
    are what the container claims. ``bit_depth`` and ``pixel_format`` describe the source; frames
    are read as 8-bit RGB whatever they are.
    """

    width: int
    height: int
    time_base: Fraction
    frame_rate: Fraction | None
    rotation: int = 0
    pixel_aspect: Fraction = Fraction(1)
    colour: Colour = UNTAGGED
    bit_depth: int = 8
    pixel_format: str = "yuv420p"
    estimated_frames: int | None = None
    duration_seconds: Fraction | None = None
    has_audio: bool = False


def probe(path: Path | str) -> VideoInfo:
    """Describe a video file, decoding its first frame.

    Raises:
        UnreadableVideo: missing, empty, damaged beyond use, or without a single frame.
        UnsupportedVideo: a kind of video that is refused; the message says what to do.
    """
    path = Path(path)
    with open_video(path) as (container, stream):
        _refuse_stream(path, container, stream)
        frame = _first_frame(path, container, stream)
        refuse_frame(path, frame)
        return _describe(container, stream, frame)


def refuse_frame(path: Path, frame: VideoFrame) -> None:
    """Raise UnsupportedVideo for pixels that cannot be represented faithfully."""
    if frame.interlaced_frame:
        _refuse_interlaced(path)
    if frame.color_trc in HDR_TRANSFERS:
        raise UnsupportedVideo(
            f"{path} is HDR (PQ or HLG); tone-map it to SDR first: ffmpeg -i IN -vf "
            "zscale=t=linear:npl=100,tonemap=hable,zscale=p=709:t=709:m=709,format=yuv420p OUT.mp4"
        )
    if not is_rgb(frame) and frame.colorspace not in MATRICES:
        raise UnsupportedVideo(
            f"{path} uses colour matrix {frame.colorspace} (ITU-T H.273), which cannot be "
            "converted; re-encode it with -colorspace bt709"
        )
    if any(component.is_alpha for component in frame.format.components):
        raise UnsupportedVideo(
            f"{path} has transparency, which would be lost; flatten it onto a background first "
            "(ffmpeg -i IN -vf format=yuv420p OUT.mp4 drops it)"
        )


def _refuse_stream(path: Path, container: InputContainer, stream: VideoStream) -> None:
    if stream.codec_context.field_order in _INTERLACED_ORDERS:
        _refuse_interlaced(path)
    if stream.metadata.get("alpha_mode") == "1":
        raise UnsupportedVideo(f"{path} has transparency, which would be lost; flatten it first")
    if container.metadata.get("major_brand", "") in _PICTURE_BRANDS:
        raise UnsupportedVideo(f"{path} is a HEIF or AVIF image; convert it to a video first")


def _refuse_interlaced(path: Path) -> None:
    raise UnsupportedVideo(
        f"{path} is interlaced; deinterlace it first: "
        "ffmpeg -i IN -vf bwdif=mode=send_field OUT.mp4"
    )


def _first_frame(path: Path, container: InputContainer, stream: VideoStream) -> VideoFrame:
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue
            if frames:
                return frames[0]
    except av.error.FFmpegError as error:
        raise UnreadableVideo(f"{path} is damaged before its first frame: {error}") from error
    raise UnreadableVideo(f"{path} holds no frame that can be decoded")


def _describe(container: InputContainer, stream: VideoStream, frame: VideoFrame) -> VideoInfo:
    rate = stream.average_rate or None
    return VideoInfo(
        width=frame.width,
        height=frame.height,
        time_base=stream.time_base or Fraction(1, _MICROSECONDS),
        frame_rate=rate,
        rotation=rotation_of(frame),
        pixel_aspect=stream.sample_aspect_ratio or Fraction(1),
        colour=colour_of(frame),
        bit_depth=max(component.bits for component in frame.format.components),
        pixel_format=frame.format.name,
        estimated_frames=estimate_frames(container, stream),
        duration_seconds=_duration_seconds(container, stream),
        has_audio=bool(container.streams.audio),
    )


def rotation_of(frame: VideoFrame) -> int:
    """Clockwise display rotation in degrees: 0, 90, 180 or 270.

    Raises:
        UnsupportedVideo: the display matrix mirrors the picture or turns it by another angle.
    """
    try:
        side_data = cast("SideDataContainer", frame.side_data)
        matrix = bytes(side_data["DISPLAYMATRIX"])
    except (KeyError, ValueError):  # none, or beside side data of a kind PyAV does not know
        return -frame.rotation % 360
    a, b, _, c, d = struct.unpack_from("=5i", matrix)
    if a * d - b * c <= 0 or (a and b):
        raise UnsupportedVideo(
            "the video is to be shown mirrored or at an odd angle, which is not supported; "
            "re-encode it upright with ffmpeg -i IN OUT.mp4"
        )
    return -frame.rotation % 360


def estimate_frames(container: InputContainer, stream: VideoStream) -> int | None:
    """How many frames the container claims to show; None if it does not say."""
    rate, duration = stream.average_rate, _duration_seconds(container, stream)
    claims = [stream.frames] if stream.frames else []
    if rate and duration:
        claims.append(round(duration * rate))
    return min((claim for claim in claims if claim > 0), default=None)


def _duration_seconds(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """The shortest of the stream's and the container's claims: edit lists shorten the latter."""
    claims = []
    if stream.duration and stream.time_base:
        claims.append(stream.duration * stream.time_base)
    if container.duration:
        claims.append(Fraction(container.duration, _MICROSECONDS))
    tag = _CLOCK.match(stream.metadata.get("DURATION", ""))  # Matroska's, per stream
    if tag is not None:
        hours, minutes, seconds = tag.groups()
        claims.append(Fraction(seconds) + 60 * int(minutes) + 3600 * int(hours))
    return min(claims, default=None)
