"""Segments: runs of frames without a shot cut, the unit of random access and of work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypernet.video.reader import Frame, ReadReport, read_frames
from hypernet.video.shots import mark_shots

MAX_FRAMES = 64
MAX_BYTES = 512 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameSegment:
    """Consecutive frames: ``frames_THWC`` 8-bit RGB, one timestamp each; the first is numbered."""

    first_frame: int
    pts: tuple[int, ...]
    frames_THWC: NDArray[np.uint8]  # noqa: N815 -- shape suffix


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentRange:
    """Where a segment lies in its source: frame numbers and the timestamp of its first frame.

    ``seekable`` says that every timestamp so far is the container's own, so that
    ``read_frames(path, first_frame, stop, start_pts=first_pts)`` may seek.
    """

    first_frame: int
    num_frames: int
    first_pts: int
    seekable: bool = True


def split_segments(
    frames: Iterable[Frame], max_frames: int = MAX_FRAMES, max_bytes: int = MAX_BYTES
) -> Iterator[FrameSegment]:
    """Group frames into segments of at most ``max_frames`` frames and ``max_bytes`` of pixels.

    A shot cut starts a new segment. Holds one segment and one frame at a time.
    """
    pending: list[Frame] = []
    first_frame = 0
    for frame, starts in _marked(frames, max_frames, max_bytes):
        if starts and pending:
            yield _segment(first_frame, pending)
            first_frame += len(pending)
            pending = []
        pending.append(frame)
    if pending:
        yield _segment(first_frame, pending)


def plan_segments(
    path: Path | str,
    max_frames: int = MAX_FRAMES,
    max_bytes: int = MAX_BYTES,
    *,
    report: ReadReport | None = None,
) -> tuple[SegmentRange, ...]:
    """The segments that ``split_segments`` makes of a file, found without keeping frames.

    Raises:
        UnreadableVideo, UnsupportedVideo: as ``read_frames``.
    """
    report = report if report is not None else ReadReport()
    starts: list[tuple[int, int, bool]] = []
    number = -1
    frames = read_frames(path, report=report)
    for number, (frame, begins) in enumerate(_marked(frames, max_frames, max_bytes)):
        if begins:
            starts.append((number, frame.pts, report.repaired_timestamps == 0))
    ends = [first for first, _, _ in starts[1:]] + [number + 1]
    return tuple(
        SegmentRange(first_frame=first, num_frames=end - first, first_pts=pts, seekable=exact)
        for (first, pts, exact), end in zip(starts, ends, strict=True)
    )


def _marked(
    frames: Iterable[Frame], max_frames: int, max_bytes: int
) -> Iterator[tuple[Frame, bool]]:
    """Each frame with whether it starts a segment; the one place where boundaries are decided."""
    length = 0
    for frame, cut in mark_shots(frames):
        limit = min(max_frames, max(1, max_bytes // frame.rgb_HWC.nbytes))
        starts = cut or length in {0, limit}
        length = 1 if starts else length + 1
        yield frame, starts


def _segment(first_frame: int, frames: list[Frame]) -> FrameSegment:
    return FrameSegment(
        first_frame=first_frame,
        pts=tuple(frame.pts for frame in frames),
        frames_THWC=np.stack([frame.rgb_HWC for frame in frames]),
    )
