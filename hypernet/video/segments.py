"""Segments: runs of frames without a shot cut, the unit of random access and of work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from hypernet.video.reader import ReadReport, read_frames
from hypernet.video.shots import mark_shots

MAX_FRAMES = 64
MAX_BYTES = 300 << 20
"""48 frames of 1920x1080, so that a worker stays below 1.5 GiB."""
CLIP_MULTIPLE = 8
"""Parts of a long shot are multiples of this where they can be, so that they hold whole clips."""


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


def plan_segments(
    path: Path | str,
    max_frames: int = MAX_FRAMES,
    max_bytes: int = MAX_BYTES,
    *,
    report: ReadReport | None = None,
) -> tuple[SegmentRange, ...]:
    """Cut a video at its shots, and long shots into about equal parts; one pass, no frame is kept.

    A segment has at most ``max_frames`` frames and ``max_bytes`` of 8-bit RGB (at least one frame).

    Raises:
        UnreadableVideo, UnsupportedVideo: as ``read_frames``.
    """
    report = report if report is not None else ReadReport()
    pts: list[int] = []
    cuts: list[int] = []
    num_exact = frame_bytes = 0
    for frame, cut in mark_shots(read_frames(path, report=report)):
        if cut or not pts:
            cuts.append(len(pts))
        pts.append(frame.pts)
        num_exact += report.repaired_timestamps == 0
        frame_bytes = frame.rgb_HWC.nbytes
    limit = min(max_frames, max(1, max_bytes // frame_bytes))
    return tuple(
        SegmentRange(
            first_frame=first,
            num_frames=length,
            first_pts=pts[first],
            seekable=first < num_exact,
        )
        for first, length in _parts([*cuts, len(pts)], limit)
    )


def even_lengths(num_frames: int, limit: int) -> list[int]:
    """A shot's frames in as few parts as the limit allows, about equally long.

    Equal parts serve a decoder of one size better than full ones and a short rest.
    """
    parts = -(-num_frames // limit)
    even = -(-num_frames // parts)
    length = min(limit, -(-even // CLIP_MULTIPLE) * CLIP_MULTIPLE)
    whole, rest = divmod(num_frames, length)
    return [length] * whole + ([rest] if rest else [])


def _parts(bounds: list[int], limit: int) -> Iterator[tuple[int, int]]:
    for first, end in pairwise(bounds):
        start = first
        for length in even_lengths(end - first, limit):
            yield start, length
            start += length
