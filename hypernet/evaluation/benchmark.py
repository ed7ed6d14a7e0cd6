"""Rate-distortion benchmark: suite x codecs x qualities, one table row each, resumable."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hypernet.errors import EncodeFailed, InvalidSettings, UnreadableInput
from hypernet.evaluation import provenance
from hypernet.evaluation.codecs import VideoCodec, read_rgb
from hypernet.evaluation.metrics import compare_videos
from hypernet.evaluation.suites import PreparedClip, find_clips, prepared
from hypernet.evaluation.table import Row, Table

DEFAULT_FRAMES = 96
DEFAULT_MS_SSIM_EVERY = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """One operating point is done: measured, already in the table, or failed with a reason."""

    done: int
    total: int
    clip: str
    codec: str
    quality: int
    row: Row | None = None
    failure: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkResult:
    """All rows of the table, and what could not be measured (with a reason each)."""

    table: Path
    rows: tuple[Row, ...]
    failures: tuple[Progress, ...]


def run_rd(
    *,
    suite: str,
    codecs: Sequence[VideoCodec],
    table: Path,
    max_frames: int = DEFAULT_FRAMES,
    clips: Sequence[str] = (),
    ms_ssim_every: int = DEFAULT_MS_SSIM_EVERY,
    fresh: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> BenchmarkResult:
    """Measure every codec at every quality on every clip of a suite.

    Rows that the table already holds (of this commit) are skipped. A codec that fails on a clip
    is reported and does not stop the others; run again to try it once more.

    Args:
        suite: ``val``, ``standard`` or a folder of clips; see ``find_clips``.
        codecs: what to measure, each over its ladder of qualities.
        table: TSV file to create or continue.
        max_frames: each clip is cut to its first frames.
        clips: only clips whose file name contains one of these.
        ms_ssim_every: MS-SSIM on every k-th frame; 0 leaves it out.
        fresh: start the table over.
        on_progress: called after each operating point.

    Raises:
        InvalidSettings: no clips, names used twice, or a table of another commit or length.
        OutputNotWritable: the table or the temporary folder cannot be written.
    """
    paths = find_clips(suite, clips)
    _check_names(codecs)
    run = _Run(
        table=Table(table, provenance.commit(), fresh=fresh),
        ms_ssim_every=ms_ssim_every,
        total=len(paths) * sum(len(codec.qualities) for codec in codecs),
        on_progress=on_progress,
    )
    for path in paths:
        run.measure_clip(path, codecs, max_frames)
    return BenchmarkResult(table=table, rows=tuple(run.table.rows), failures=tuple(run.failures))


@dataclass(kw_only=True, slots=True)
class _Run:
    """One pass over the operating points, with its counters."""

    table: Table
    ms_ssim_every: int
    total: int
    on_progress: Callable[[Progress], None]
    done: int = 0
    failures: list[Progress] = field(default_factory=list)

    def measure_clip(self, path: Path, codecs: Sequence[VideoCodec], max_frames: int) -> None:
        points = [(codec, quality) for codec in codecs for quality in codec.qualities]
        rows = {(row.codec, row.quality): row for row in self.table.rows if row.clip == path.name}
        missing = [point for point in points if (point[0].name, point[1]) not in rows]
        for codec, quality in points:
            if row := rows.get((codec.name, quality)):
                _check_length(self.table.path, row, max_frames)
                self._report(path.name, codec, quality, row=row)
        if missing:
            self._measure(path, missing, max_frames, list(rows.values()))

    def _measure(
        self,
        path: Path,
        points: Sequence[tuple[VideoCodec, int]],
        max_frames: int,
        present: Sequence[Row],
    ) -> None:
        try:
            with prepared(path, max_frames) as clip:
                for row in present:
                    _check_length(self.table.path, row, clip.frames, exactly=True)
                for codec, quality in points:
                    self._measure_point(clip, codec, quality)
        except UnreadableInput as error:
            for codec, quality in points:
                self._report(path.name, codec, quality, failure=str(error))

    def _measure_point(self, clip: PreparedClip, codec: VideoCodec, quality: int) -> None:
        try:
            row = measure(
                clip,
                codec,
                quality,
                ms_ssim_every=self.ms_ssim_every,
                commit=self.table.commit,
            )
        except (EncodeFailed, UnreadableInput) as error:
            self._report(clip.name, codec, quality, failure=str(error))
            return
        self.table.append(row)
        self._report(clip.name, codec, quality, row=row)

    def _report(
        self,
        clip: str,
        codec: VideoCodec,
        quality: int,
        *,
        row: Row | None = None,
        failure: str | None = None,
    ) -> None:
        self.done += 1
        progress = Progress(
            done=self.done,
            total=self.total,
            clip=clip,
            codec=codec.name,
            quality=quality,
            row=row,
            failure=failure,
        )
        if failure is not None:
            self.failures.append(progress)
        self.on_progress(progress)


def measure(
    clip: PreparedClip, codec: VideoCodec, quality: int, *, ms_ssim_every: int, commit: str
) -> Row:
    """Encode, decode (timed on its own) and compare one clip at one quality.

    Raises:
        EncodeFailed: the codec cannot encode this clip.
        UnreadableInput: what it wrote does not decode to the clip's frames.
    """
    load = provenance.load_average()
    output = clip.path.with_name(f"coded{codec.suffix}")
    stats = codec.encode(clip.path, output, quality)
    start = time.perf_counter()
    frames = sum(1 for _ in codec.decode(output))
    decode_seconds = time.perf_counter() - start
    comparison = compare_videos(
        read_rgb(clip.path), codec.decode(output), ms_ssim_every=ms_ssim_every, with_vmaf=False
    )
    return Row(
        clip=clip.name,
        codec=codec.name,
        quality=quality,
        bytes=stats.stream_bytes,
        bits_per_pixel=stats.stream_bytes * 8 / clip.pixels,
        psnr_db=comparison.psnr_db,
        psnr_y_db=comparison.psnr_y_db,
        ms_ssim=comparison.ms_ssim,
        encode_seconds=stats.encode_seconds,
        decode_frames_per_second=frames / decode_seconds,
        frames=comparison.frames,
        width=clip.width,
        height=clip.height,
        commit=commit,
        cpu=provenance.processor(),
        threads=codec.threads,
        load_average=load,
        device=stats.device,
    )


def _check_names(codecs: Sequence[VideoCodec]) -> None:
    names = [codec.name for codec in codecs]
    if len(set(names)) < len(names):
        raise InvalidSettings(f"two codecs have the same name: {', '.join(sorted(names))}")


def _check_length(table: Path, row: Row, frames: int, *, exactly: bool = False) -> None:
    """Refuse to continue a table that was made with another number of frames."""
    if row.frames > frames or (exactly and row.frames != frames):
        raise InvalidSettings(
            f"{table} holds {row.frames} frames of {row.clip} and this run uses {frames}; "
            "choose the same number of frames, another --out, or --fresh to start over"
        )
