"""Encoding in one page: plan, encode each segment, assemble the stream.

``make_plan``, ``encode_segment`` and ``assemble`` are what workers call one by one;
``encode_file`` is the same in one process.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from hypernet.bitstream.output import atomic_output
from hypernet.bitstream.writer import SegmentPayload, write_stream
from hypernet.errors import InvalidSettings
from hypernet.fitting import FitProgress
from hypernet.plan import EncodeSettings, Plan, make_plan
from hypernet.result import EncodedSegment, EncodeResult, summarise
from hypernet.segment_encoding import SegmentLimits, collect_frames, encode_frames, prepared
from hypernet.video.audio import extract_audio
from hypernet.video.reader import read_frames
from hypernet.video.segments import SegmentRange

ShouldStop = Callable[[], bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodeProgress:
    """How far an encoding is; quality and rate are those of the segment being fitted."""

    frames_done: float
    frames_total: int
    segment: int
    num_segments: int
    psnr_db: float
    bits_per_pixel: float
    eta_seconds: float


def encode_segment(
    source: Path,
    plan: Plan,
    index: int,
    settings: EncodeSettings,
    *,
    on_progress: Callable[[FitProgress], None] | None = None,
    should_stop: ShouldStop | None = None,
) -> EncodedSegment:
    """Encode one segment of a plan; a budget counts in proportion to the segment's frames.

    Args:
        source: the video the plan was made of.
        plan: from ``make_plan``.
        index: number of the segment.
        settings: the settings the plan was made with.
        on_progress: called after every gradient step.
        should_stop: asked before every gradient step.

    Raises:
        UnreadableVideo: the source no longer holds these frames.
        Cancelled: ``should_stop`` returned true.
        EncodeFailed: the fit diverged, or the bytes did not decode to what was encoded.
    """
    segment = plan.segments[index]
    frames = read_frames(
        source,
        segment.first_frame,
        segment.first_frame + segment.num_frames,
        start_pts=segment.first_pts if segment.seekable else None,
    )
    seconds = (settings.budget_seconds or math.inf) * segment.num_frames / plan.num_frames
    limits = SegmentLimits(
        settings=settings, seconds=seconds, on_progress=on_progress, should_stop=should_stop
    )
    return encode_frames(collect_frames(frames, segment), plan, limits)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceAudio:
    """The sound of a source: one blob of ``num_bytes``, and a sentence for each track left out."""

    blob: bytes | Path | None
    num_bytes: int
    dropped: tuple[str, ...] = ()


def copy_audio(source: Path) -> SourceAudio:
    """Every audio track of a video that can be copied.

    Raises:
        UnreadableVideo, UnsupportedVideo: as ``extract_audio``.
    """
    dropped: list[str] = []
    blob = extract_audio(source, dropped=dropped)
    return SourceAudio(blob=blob, num_bytes=len(blob or b""), dropped=tuple(dropped))


def assemble(
    plan: Plan, payloads: Sequence[bytes | Path], audio: SourceAudio, output: Path | BinaryIO
) -> Plan:
    """Write the stream of finished segments and the source's audio.

    Returns:
        The plan, warning of every track that was left out.

    Raises:
        InvalidStream: a payload does not fit the plan.
        OutputNotWritable: only when ``output`` is a path.
    """
    segments = [
        SegmentPayload(
            first_frame=segment.first_frame,
            num_frames=segment.num_frames,
            first_pts=segment.first_pts,
            payload=payload,
        )
        for segment, payload in zip(plan.segments, payloads, strict=True)
    ]
    write_stream(output, plan.header(), segments, audio=audio.blob)
    return replace(plan, warnings=(*plan.warnings, *audio.dropped))


def encode_file(
    source: Path,
    output: Path,
    settings: EncodeSettings,
    *,
    started: float | None = None,
    on_progress: Callable[[EncodeProgress], None] | None = None,
    should_stop: ShouldStop | None = None,
) -> EncodeResult:
    """Encode a video file to a stream, one segment in memory at a time.

    Args:
        source: any video that ``probe`` accepts.
        output: replaced at the very end; untouched on any failure.
        settings: what the user chose.
        started: ``time.monotonic()`` when the work began, if that was before this call.
        on_progress: called after every gradient step.
        should_stop: asked before every gradient step.

    Raises:
        HypernetError: see ``hypernet.errors``; nothing was written then.
    """
    started = time.monotonic() if started is None else started
    settings.torch_device()  # refused here rather than after planning
    with suppress(OSError):  # where one of them does not exist
        if output.samefile(source):
            raise InvalidSettings(f"input and output are both {source}; name another output")
    with atomic_output(output) as file, tempfile.TemporaryDirectory(prefix="nrv-") as folder:
        with prepared(settings):
            plan = make_plan(source, settings)
        run = _FileRun(
            source,
            plan,
            settings,
            started=started,
            on_progress=on_progress,
            should_stop=should_stop,
        )
        payloads, encoded = run.encode_all(Path(folder))
        audio = copy_audio(source)
        plan = assemble(plan, payloads, audio, file)
        stream_bytes = file.tell()
    return summarise(
        plan,
        settings,
        encoded,
        source_bytes=source.stat().st_size,
        stream_bytes=stream_bytes,
        audio_bytes=audio.num_bytes,
        encode_seconds=time.monotonic() - started,
    )


class _FileRun:
    """One file, segment after segment: shares the budget, spools payloads, reports progress."""

    def __init__(
        self,
        source: Path,
        plan: Plan,
        settings: EncodeSettings,
        *,
        started: float,
        on_progress: Callable[[EncodeProgress], None] | None,
        should_stop: ShouldStop | None,
    ) -> None:
        self._plan, self._settings, self._started = plan, settings, started
        self._frames = read_frames(source)
        self._on_progress, self._should_stop = on_progress, should_stop
        self._fit_started = time.monotonic()

    def encode_all(self, folder: Path) -> tuple[list[Path], list[EncodedSegment]]:
        """Encode every segment; payloads go to files in ``folder``."""
        payloads, encoded = [], []
        for index, segment in enumerate(self._plan.segments):
            limits = SegmentLimits(
                settings=self._settings,
                seconds=self._seconds_for(segment),
                on_progress=self._reporter(index) if self._on_progress else None,
                should_stop=self._should_stop,
            )
            result = encode_frames(collect_frames(self._frames, segment), self._plan, limits)
            path = folder / f"{index}.segment"
            path.write_bytes(result.payload)
            payloads.append(path)
            encoded.append(replace(result, payload=b""))
        return payloads, encoded

    def _seconds_for(self, segment: SegmentRange) -> float:
        """The segment's share of what is left of the budget."""
        if self._settings.budget_seconds is None:
            return math.inf
        left = self._settings.budget_seconds - (time.monotonic() - self._started)
        return max(0.0, left * segment.num_frames / (self._plan.num_frames - segment.first_frame))

    def _reporter(self, index: int) -> Callable[[FitProgress], None]:
        segment, total = self._plan.segments[index], self._plan.num_frames

        def report(progress: FitProgress) -> None:
            done = segment.first_frame + progress.fraction * segment.num_frames
            elapsed = time.monotonic() - self._fit_started
            if self._on_progress is not None:
                self._on_progress(
                    EncodeProgress(
                        frames_done=done,
                        frames_total=total,
                        segment=index,
                        num_segments=len(self._plan.segments),
                        psnr_db=progress.psnr_db,
                        bits_per_pixel=progress.bits_per_pixel,
                        eta_seconds=elapsed * (total - done) / max(done, 1e-9),
                    )
                )

        return report
