"""Memory of our loader over time: it must not grow."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch

from hypernet.errors import InvalidSettings
from hypernet.evaluation import provenance
from hypernet.evaluation.load_benchmark import BATCH_SIZE, CLIP_FRAMES, LoadPlan, num_cores
from hypernet.evaluation.load_methods import Nrv
from hypernet.evaluation.load_source import join_clips
from hypernet.evaluation.table import write_tsv
from hypernet.loader import NrvDataset, NrvLoader

SAMPLES = 120
CLIPS_PER_EPOCH = 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class SoakRow:
    """Resident memory at one moment; what processes share is counted in each of them."""

    seconds: float
    clips: int
    process_bytes: int
    workers_bytes: int
    open_files: int
    device_bytes: int
    commit: str
    cpu: str
    load_average: float | None

    @property
    def total_bytes(self) -> int:
        """Of this process and its workers."""
        return self.process_bytes + self.workers_bytes


def run_soak(
    plan: LoadPlan,
    *,
    seconds: float,
    table: Path,
    folder: Path,
    on_row: Callable[[SoakRow], None] = lambda _: None,
) -> list[SoakRow]:
    """Load random clips for that long and write a curve of memory.

    Args:
        plan: its first preset, last size, largest number of workers and device are used.
        seconds: how long.
        table: TSV file; replaced.
        folder: for the stream, which is used again if found.
        on_row: called after each row.

    Raises:
        InvalidSettings: this system does not tell how much memory processes use.
        OutputNotWritable: the table cannot be written.
    """
    if not Path("/proc/self/statm").exists():
        raise InvalidSettings("memory over time is measured on Linux only")
    source = join_clips(plan.suite, folder, size=plan.sizes[-1], num_frames=plan.num_frames)
    stored = Nrv(preset=plan.presets[0], quality=plan.quality).store(source, folder)
    loader = NrvLoader(
        NrvDataset(stored, frames=CLIP_FRAMES, clips=CLIPS_PER_EPOCH),
        batch_size=BATCH_SIZE,
        workers=max(plan.workers, default=num_cores()),
        device="cuda" if plan.profile == "gpu" else "cpu",
    )
    rows: list[SoakRow] = []
    columns = [each.name for each in dataclasses.fields(SoakRow)]
    clips, started, due = 0, time.monotonic(), 0.0
    while not rows or rows[-1].seconds < seconds:
        for batch in loader:
            clips += len(batch.label)
            elapsed = time.monotonic() - started
            if elapsed < min(due, seconds):
                continue
            due = elapsed + seconds / SAMPLES
            rows.append(_sample(elapsed, clips))
            write_tsv(table, columns, [dataclasses.astuple(row) for row in rows])
            on_row(rows[-1])
            if elapsed >= seconds:
                break
    return rows


def growth(rows: list[SoakRow]) -> float:
    """Memory of the last quarter over that of the second (the first one fills caches), less 1."""
    quarter = max(1, len(rows) // 4)
    before = fmean(row.total_bytes for row in rows[quarter : 2 * quarter] or rows)
    return fmean(row.total_bytes for row in rows[-quarter:]) / before - 1


def _sample(seconds: float, clips: int) -> SoakRow:
    workers = [child.pid for child in multiprocessing.active_children()]
    return SoakRow(
        seconds=round(seconds, 1),
        clips=clips,
        process_bytes=_resident_bytes(os.getpid()),
        workers_bytes=sum(_resident_bytes(pid) for pid in workers if pid is not None),
        open_files=len(os.listdir("/proc/self/fd")),  # noqa: PTH208 -- numbers, not paths
        device_bytes=torch.cuda.memory_allocated() if torch.cuda.is_available() else 0,
        commit=provenance.commit(),
        cpu=provenance.processor(),
        load_average=provenance.load_average(),
    )


def _resident_bytes(process: int) -> int:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except OSError:
        return 0  # it has ended since
    return pages * os.sysconf("SC_PAGE_SIZE")
