"""What the pipeline asks of a codec. Everything that crosses this line is JSON, bytes or a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Json = Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentPlan:
    """How a source is cut."""

    plan: str  # JSON, for the codec's own use
    segment_frames: tuple[int, ...]  # at least one segment, at least one frame each


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedSegment:
    """One segment, decoded again from its bytes and found to be right."""

    payload: bytes
    num_frames: int
    metrics: Json  # psnr_db, refinement_steps, encode_seconds... as the codec reports them


@dataclass(frozen=True, kw_only=True, slots=True)
class Supervision:
    """How a codec's long work is watched and stopped."""

    report: Callable[[float], None]  # part of the work that is done, 0 to 1
    should_stop: Callable[[], bool]  # when true, raise `hypernet.errors.Cancelled` soon


class SegmentCodec(Protocol):
    """Turns a video file into a stream, one segment at a time. Raises `HypernetError`."""

    def plan(self, source: Path, settings: Json, supervision: Supervision) -> SegmentPlan:
        """Read the source and cut it into segments."""
        ...

    def encode_segment(
        self, source: Path, plan: str, index: int, settings: Json, supervision: Supervision
    ) -> EncodedSegment:
        """Encode and verify one segment."""
        ...

    def assemble(
        self,
        *,
        source: Path,
        plan: str,
        settings: Json,
        payloads: Sequence[Path],
        metrics: Sequence[Json],
        output: Path,
    ) -> Json:
        """Copy the segments into one stream at ``output``; returns what ``encode --json`` prints.

        Args:
            source: the video, for its audio and its size.
            plan: from `plan`.
            settings: of the encoding.
            payloads: the bytes of every segment, in order.
            metrics: of every segment, in order.
            output: where the stream goes.
        """
        ...
