"""Frames of a video file, in presentation order, one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from hypernet.errors import UnreadableVideo, UnsupportedVideo
from hypernet.video.colour import rgb_of
from hypernet.video.demux import open_video
from hypernet.video.probe import estimate_frames, refuse_frame

_ASSUMED_RATE = 25
_MAX_SECONDS = 1 << 30
_WHOLE = 0.9  # of the frames that the container claims; claims are rough
_FEW_GAPS = 3  # and one per hundred frames; more of them are a variable rate


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """One picture: ``pts`` in the stream's time base, ``rgb_HWC`` 8-bit, before rotation."""

    pts: int
    rgb_HWC: NDArray[np.uint8]


@dataclass(kw_only=True, slots=True)
class ReadReport:
    """What went wrong while reading and was survived; filled as frames are read.

    ``decode_failures`` counts packets that arrived damaged, did not decode, or gave a frame in
    which the decoder concealed damage; ``repaired_timestamps`` counts frames whose time was missing
    or not later than the previous frame's; ``gaps`` counts jumps in time at an otherwise steady
    rate; ``missing_frames`` is about how many the container promises beyond those read;
    ``truncated`` says that the file ended clearly before its container does.
    """

    frames: int = 0
    gaps: int = 0
    missing_frames: int = 0
    decode_failures: int = 0
    repaired_timestamps: int = 0
    truncated: bool = False

    def warnings(self) -> tuple[str, ...]:
        """What a user should know was lost, and why; a repaired timestamp is no loss."""
        causes = ["it ends early"] if self.truncated else []
        if self.decode_failures:
            causes.append(f"damaged packets: {self.decode_failures}")
        if self.gaps and self.missing_frames:
            causes.append(f"gaps in time: {self.gaps}")
        if not causes:
            return ()
        missing = f"about {self.missing_frames} are missing"
        effect = missing if self.missing_frames else "some may show damage"
        said = f"{self.frames} frames of the source could be read, {effect}: {', '.join(causes)}"
        return (said,)


def read_frames(
    path: Path | str,
    start: int = 0,
    stop: int | None = None,
    *,
    start_pts: int | None = None,
    report: ReadReport | None = None,
) -> Iterator[Frame]:
    """Frames ``start <= n < stop`` in presentation order, with strictly increasing timestamps.

    A frame's time is the container's presentation time, or else its decoding time. A frame without
    either, not later than the previous one, or decades away (damage), is shown one nominal frame
    duration after the previous one.
    Frames that do not decode are left out and counted; a file that ends early yields what it holds.
    ``start_pts``, the timestamp of frame ``start`` as the container gives it, allows seeking; where
    a seek cannot be proven exact, decoding starts at the beginning.

    Raises:
        UnreadableVideo: nothing decodes.
        UnsupportedVideo: a refused kind of video, or frames that change size in the middle.
    """
    path = Path(path)
    report = report if report is not None else ReadReport()
    for number, (pts, frame) in enumerate(_from(path, start, start_pts, report), start):
        if stop is not None and number >= stop:
            return
        report.frames += 1
        yield Frame(pts=pts, rgb_HWC=rgb_of(frame))


def _from(
    path: Path, start: int, start_pts: int | None, report: ReadReport
) -> Iterator[tuple[int, VideoFrame]]:
    if start > 0 and start_pts is not None:
        found = _seek_decode(path, start_pts, report)
        first = next(found, None)
        if first is not None:
            yield first
            yield from found
            return
    for number, frame in enumerate(_decode(path, report)):
        if number >= start:
            yield frame


def _decode(path: Path, report: ReadReport) -> Iterator[tuple[int, VideoFrame]]:
    """Every frame with its repaired timestamp."""
    with open_video(path) as (container, stream):
        count = first_pts = pts = 0
        frames = _frames(container, stream, report)
        for pts, frame in _checked(path, frames, _Clock(stream, report)):
            first_pts = pts if count == 0 else first_pts
            count += 1
            yield pts, frame
        if count == 0:
            raise UnreadableVideo(f"{path} holds no frame that can be decoded")
        steady = report.gaps <= _FEW_GAPS + count // 100
        if not steady:
            report.gaps = 0
        claimed = estimate_frames(container, stream) or 0
        # Uncounted frames are claimed by their time, which says nothing at a variable rate.
        shown = count if stream.frames else _frames_until_end(stream, first_pts, pts)
        report.missing_frames = max(0, claimed - (count if steady else shown))
        report.truncated |= shown < _WHOLE * claimed - 1


def _frames_until_end(stream: VideoStream, first_pts: int, last_pts: int) -> int:
    """How many frames a constant rate would show in the time that was read."""
    seconds = (last_pts - first_pts) * (stream.time_base or 0)
    return 1 + round(seconds * (stream.average_rate or 0))


def _seek_decode(
    path: Path, start_pts: int, report: ReadReport
) -> Iterator[tuple[int, VideoFrame]]:
    """Frames from ``start_pts`` on, or nothing where the seek cannot be proven exact.

    It is when decoding restarts at a key frame that is not later, every frame up to the wanted one
    has a timestamp, and the wanted one has exactly ``start_pts``.
    """
    with open_video(path) as (container, stream):
        try:
            container.seek(start_pts, stream=stream, backward=True)
        except av.error.FFmpegError:
            return
        frames = _frames(container, stream, report)
        frame = next(frames, None)
        if frame is None or not frame.key_frame:
            return
        while frame is not None and frame.pts is not None and frame.pts < start_pts:
            frame = next(frames, None)
        if frame is not None and frame.pts == start_pts:
            yield from _checked(path, chain([frame], frames), _Clock(stream, report))


def _checked(
    path: Path, frames: Iterable[VideoFrame], clock: _Clock
) -> Iterator[tuple[int, VideoFrame]]:
    """Refuse what is refused in any frame, and a change of size."""
    size: tuple[int, int] | None = None
    for frame in frames:
        size = size or (frame.width, frame.height)
        if (frame.width, frame.height) != size:
            raise UnsupportedVideo(
                f"{path} changes from {size[0]}x{size[1]} to {frame.width}x{frame.height} in the "
                "middle; scale it to one size first: ffmpeg -i IN -vf scale=W:H OUT.mp4"
            )
        refuse_frame(path, frame)
        yield clock.tick(_time_of(frame)), frame


def _frames(
    container: InputContainer, stream: VideoStream, report: ReadReport
) -> Iterator[VideoFrame]:
    """Everything that decodes; damage is counted once per packet."""
    for packet in _packets(container, stream, report):
        try:
            frames = stream.codec_context.decode(packet)
        except av.error.FFmpegError:
            report.decode_failures += 1
            continue
        arrived_damaged = packet is not None and packet.is_corrupt
        report.decode_failures += arrived_damaged or any(frame.is_corrupt for frame in frames)
        yield from frames


def _packets(
    container: InputContainer, stream: VideoStream, report: ReadReport
) -> Iterator[Packet[VideoStream] | None]:
    """Packets up to the end or an error of the demuxer; None lets the decoder empty itself."""
    try:
        yield from container.demux(stream)
    except av.error.FFmpegError:
        report.truncated = True
        yield None


def _time_of(frame: VideoFrame) -> int | None:
    return frame.pts if frame.pts is not None else frame.dts


class _Clock:
    """Strictly increasing timestamps by one rule; see ``read_frames``."""

    def __init__(self, stream: VideoStream, report: ReadReport) -> None:
        rate = stream.average_rate or Fraction(_ASSUMED_RATE)
        unit = stream.time_base or Fraction(1, 1000)
        self._step = max(1, round(1 / (rate * unit)))
        self._latest = int(_MAX_SECONDS / unit)
        self._previous: int | None = None
        self._report = report

    def tick(self, pts: int | None) -> int:
        floor = -self._latest if self._previous is None else self._previous
        if pts is None or not floor < pts < self._latest:
            self._report.repaired_timestamps += 1
            pts = 0 if self._previous is None else self._previous + self._step
        self._report.gaps += self._previous is not None and pts - self._previous > 1.5 * self._step
        self._previous = pts
        return pts
