"""Loading random short clips: our streams against H.264, JPEG and raw frames, by the same list."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from hypernet.errors import InvalidSettings
from hypernet.evaluation import provenance
from hypernet.evaluation.load_methods import (
    H264,
    JpegTar,
    LoadMethod,
    Nrv,
    RawFrames,
    Wanted,
    is_installed,
)
from hypernet.evaluation.load_source import LoadSource, join_clips
from hypernet.evaluation.metrics import PsnrAccumulator
from hypernet.evaluation.table import write_tsv

CLIP_FRAMES = 8
BATCH_SIZE = 8
MIN_BATCHES = 3  # of a measurement, however long they take
SIZES = ((256, 256), (854, 480))
NUM_FRAMES = 512
SEED = 1
PSNR_EVERY = 4  # clips: quality is measured on every fourth
SLOWER = 1.5  # than loading, who is to wait for next to nothing
PROFILES = ("cpu", "gpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadRow:
    """One method at one size with so many workers.

    Attributes:
        random_clips_per_second: 8 frames each, of random places, the same for all methods.
        sequential_frames_per_second: of all frames, each worker a part of the video.
        stored_bytes: of what the method keeps.
        times_smaller: than the raw frames.
        psnr_db: RGB, mean over every fourth clip; infinite for raw frames.
        waiting_share: of the time of somebody who takes 1.5 times as long for a batch as it takes
            to load; measured for our loader.
        note: why there are no numbers, if there are none.
    """

    method: str
    width: int
    height: int
    frames: int
    device: str
    workers: int
    batch_size: int
    random_clips_per_second: float | None = None
    sequential_frames_per_second: float | None = None
    stored_bytes: int | None = None
    times_smaller: float | None = None
    psnr_db: float | None = None
    waiting_share: float | None = None
    note: str = ""
    commit: str
    cpu: str
    gpu: str
    cores: int
    load_average: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadPlan:
    """What is measured.

    Attributes:
        suite: whose clips are joined.
        presets: of ours.
        quality: of ours, 1 to 100.
        profile: ``"cpu"``, or ``"gpu"`` where batches are wanted on a CUDA device.
        workers: numbers of processes; of the cores there are, if none are given.
        sizes: width and height.
        num_frames: of the joined video.
        batch_size: clips of a batch.
        seconds: that one measurement takes, unless a few batches take longer.
        methods: only those whose name contains one of these.
    """

    suite: str = "val"
    presets: Sequence[str] = ("fast",)
    quality: int = 50
    profile: str = "cpu"
    workers: Sequence[int] = ()
    sizes: Sequence[tuple[int, int]] = SIZES
    num_frames: int = NUM_FRAMES
    batch_size: int = BATCH_SIZE
    seconds: float = 10.0
    methods: Sequence[str] = ()


def all_methods(presets: Sequence[str], quality: int) -> list[LoadMethod]:
    """Every way of keeping a video that is compared."""
    return [
        *(Nrv(preset=preset, quality=quality) for preset in presets),
        *(Nrv(preset=preset, quality=quality, together=False) for preset in presets),
        *(H264(key_interval=interval, reader="pyav") for interval in (12, 250)),
        *(H264(key_interval=interval, reader="decord") for interval in (12, 250)),
        JpegTar(),
        RawFrames(uses_workers=False),
        RawFrames(uses_workers=True),
    ]


def run_load(
    plan: LoadPlan,
    *,
    table: Path,
    folder: Path,
    on_row: Callable[[LoadRow], None] = lambda _: None,
) -> list[LoadRow]:
    """Measure every method at every size and write the table.

    Methods whose module is missing, and all of them where a GPU is wanted and there is none, get a
    row that says so.

    Args:
        plan: what is measured.
        table: TSV file; replaced.
        folder: for what is stored; found there it is used again, so a machine without a video
            library can measure what another has prepared.
        on_row: called after each row.

    Raises:
        InvalidSettings: an unknown profile, no clips, no method of these names, or a batch that is
            longer than the video.
        OutputNotWritable: the table or folder cannot be written.
    """
    device = _device(plan.profile)
    methods = [
        method
        for method in all_methods(plan.presets, plan.quality)
        if not plan.methods or any(part in method.name for part in plan.methods)
    ]
    if not methods:
        raise InvalidSettings(f"no method is named like {', '.join(plan.methods)}")
    if plan.batch_size * CLIP_FRAMES > plan.num_frames:
        raise InvalidSettings(
            f"a batch of {plan.batch_size} clips needs a video of at least "
            f"{plan.batch_size * CLIP_FRAMES} frames, not {plan.num_frames}"
        )
    rows: list[LoadRow] = []
    columns = [each.name for each in dataclasses.fields(LoadRow)]
    for size in plan.sizes:
        source = join_clips(plan.suite, folder, size=size, num_frames=plan.num_frames)
        for method in methods:
            for workers in _workers_of(method, plan):
                run = _Run(method, source, folder, device, workers, plan)
                rows.append(run.measured())
                write_tsv(table, columns, [dataclasses.astuple(row) for row in rows])
                on_row(rows[-1])
    return rows


@dataclass(frozen=True, slots=True)
class _Run:
    """One row in the making."""

    method: LoadMethod
    source: LoadSource
    folder: Path
    device: torch.device
    workers: int
    plan: LoadPlan

    def measured(self) -> LoadRow:
        blank = self._row()
        if self.device.type == "cuda" and not torch.cuda.is_available():
            return dataclasses.replace(blank, note="not run: no CUDA device")
        if not is_installed(self.method):
            return dataclasses.replace(blank, note=f"not run: {self.method.needs} is not installed")
        stored = self.method.store(self.source, self.folder)
        batches = self._batches(stored, random_firsts(self.source.num_frames))
        clips = self._rate(batches)
        firsts = sequential_firsts(self.source.num_frames, self.workers, self.plan.batch_size)
        batches = self._batches(stored, firsts)
        frames = CLIP_FRAMES * self._rate(batches)
        num_bytes = stored.stat().st_size
        return dataclasses.replace(
            blank,
            random_clips_per_second=round(clips, 2),
            sequential_frames_per_second=round(frames, 1),
            stored_bytes=num_bytes,
            times_smaller=round(self.source.num_bytes / num_bytes, 1),
            psnr_db=round(self._psnr_db(stored), 3),
            waiting_share=self._waiting_share(stored, clips),
        )

    def _row(self) -> LoadRow:
        return LoadRow(
            method=self.method.name,
            width=self.source.width,
            height=self.source.height,
            frames=self.source.num_frames,
            device=self.device.type,
            workers=self.workers,
            batch_size=self.plan.batch_size,
            commit=provenance.commit(),
            cpu=provenance.processor(),
            gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else "",
            cores=num_cores(),
            load_average=provenance.load_average(),
        )

    def _batches(
        self, stored: Path, firsts: Sequence[int], workers: int | None = None
    ) -> Iterable[Tensor]:
        return self.method.batches(stored, self._wanted(firsts, workers))

    def _wanted(self, firsts: Sequence[int], workers: int | None = None) -> Wanted:
        return Wanted(
            firsts=firsts,
            clip_frames=CLIP_FRAMES,
            batch_size=self.plan.batch_size,
            workers=self.workers if workers is None else workers,
            device=self.device,
        )

    def _rate(self, batches: Iterable[Tensor]) -> float:
        """Clips a second from when the pipeline is full until the time is up or all are there."""
        iterator = iter(batches)
        with closing(cast("Any", iterator)):
            for _ in islice(iterator, 2 * self.workers + 1):
                self._finish()
            clips, started = 0, time.perf_counter()
            for batch in iterator:
                self._finish()
                clips += len(batch)
                late = time.perf_counter() - started > self.plan.seconds
                if late and clips >= MIN_BATCHES * self.plan.batch_size:
                    break
            return clips / (time.perf_counter() - started)

    def _waiting_share(self, stored: Path, clips_per_second: float) -> float | None:
        """What a consumer waits who could be served in time."""
        if not isinstance(self.method, Nrv) or not self.method.together:
            return None
        busy_seconds = SLOWER * self.plan.batch_size / clips_per_second
        count = max(3, round(self.plan.seconds / busy_seconds))
        firsts = random_firsts(self.source.num_frames, self.plan.batch_size * count)
        loader = self.method.loader(stored, self._wanted(firsts))
        for _ in loader:
            time.sleep(busy_seconds)
        return round(loader.waiting.share, 4)

    def _finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _psnr_db(self, stored: Path) -> float:
        frames, psnr = self.source.frames(), PsnrAccumulator()
        firsts = range(0, self.source.num_frames - CLIP_FRAMES + 1, CLIP_FRAMES * PSNR_EVERY)
        position = 0
        for batch in self._batches(stored, list(firsts), workers=0):
            for clip_TCHW in batch.cpu().permute(0, 1, 3, 4, 2).numpy():
                for offset, frame_HWC in enumerate(clip_TCHW):
                    reference = np.asarray(frames[firsts[position] + offset])
                    psnr.add(reference, np.ascontiguousarray(frame_HWC))
                position += 1
        return psnr.psnr_db


def random_firsts(num_frames: int, count: int = 4096) -> list[int]:
    """Where random clips begin: the same list for every method."""
    generator = np.random.default_rng(SEED)
    return [int(n) for n in generator.integers(num_frames - CLIP_FRAMES + 1, size=count)]


def sequential_firsts(
    num_frames: int, workers: int, batch_size: int = BATCH_SIZE, rounds: int = 8
) -> list[int]:
    """Clips one after the other, ``rounds`` times the video.

    Batches go to the workers in turn, so the batches of as many parts of the video alternate.
    """
    all_batches = num_frames // (CLIP_FRAMES * batch_size)
    parts = max(1, min(workers, all_batches))
    batches = all_batches // parts
    order = [
        (part * batches + batch) * batch_size + clip
        for batch in range(batches)
        for part in range(parts)
        for clip in range(batch_size)
    ]
    return [CLIP_FRAMES * clip for clip in order] * rounds


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _workers_of(method: LoadMethod, plan: LoadPlan) -> Sequence[int]:
    if not method.uses_workers:
        return (0,)
    return tuple(plan.workers) or sorted({1, num_cores()})


def _device(profile: str) -> torch.device:
    if profile not in PROFILES:
        raise InvalidSettings(f"unknown profile {profile!r}; choose of {', '.join(PROFILES)}")
    return torch.device("cuda" if profile == "gpu" else "cpu")
