"""Peak memory of encoding by length of the clip: it must not grow."""

from __future__ import annotations

import dataclasses
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypernet.codec import encode_file
from hypernet.evaluation import provenance
from hypernet.evaluation.encoders import EncoderSettings, write_video
from hypernet.evaluation.synthetic import landscape
from hypernet.evaluation.table import write_tsv
from hypernet.plan import EncodeSettings
from hypernet.result import EncodeResult

FRAME_RATE = 25
DISTINCT_FRAMES = 50  # shown over and over: what is in the frames does not matter here
_QUICK = EncoderSettings(
    encoder="libx264",
    pixel_format="yuv420p",
    container="mp4",
    threads=2,
    options={"preset": "ultrafast", "crf": "28"},
)


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryRow:
    """One encoding: ``peak_bytes`` is the process's largest resident set."""

    seconds: float
    frames: int
    width: int
    height: int
    preset: str
    peak_bytes: int
    encode_seconds: float
    stream_bytes: int
    commit: str
    cpu: str
    threads: int
    load_average: float | None


def run_memory(
    *,
    table: Path,
    seconds: Sequence[float],
    size: tuple[int, int],
    preset: str = "debug",
    on_row: Callable[[MemoryRow], None] = lambda _: None,
) -> list[MemoryRow]:
    """Encode a clip of each length and write the table.

    Args:
        table: TSV file; replaced.
        seconds: lengths of the clips at 25 frames a second.
        size: width and height.
        preset: operating point.
        on_row: called after each length.

    Raises:
        HypernetError: an encoding failed.
        OutputNotWritable: the table cannot be written.
    """
    rows: list[MemoryRow] = []
    columns = [field.name for field in dataclasses.fields(MemoryRow)]
    for length in seconds:
        rows.append(_measure(length, size, preset))
        write_tsv(table, columns, [dataclasses.astuple(row) for row in rows])
        on_row(rows[-1])
    return rows


def _measure(seconds: float, size: tuple[int, int], preset: str) -> MemoryRow:
    load = provenance.load_average()
    with tempfile.TemporaryDirectory(prefix="nrv-bench-") as folder:
        source, output = Path(folder, "source.mp4"), Path(folder, "stream.nrv")
        write_video(_frames(size, seconds), source, Fraction(FRAME_RATE), _QUICK)
        started = time.monotonic()
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as child:
            result, peak_bytes = child.submit(_encode, source, output, preset).result()
        return MemoryRow(
            seconds=seconds,
            frames=result.frames,
            width=size[0],
            height=size[1],
            preset=preset,
            peak_bytes=peak_bytes,
            encode_seconds=round(time.monotonic() - started, 1),
            stream_bytes=result.stream_bytes,
            commit=provenance.commit(),
            cpu=provenance.processor(),
            threads=result.threads,
            load_average=load,
        )


def _frames(size: tuple[int, int], seconds: float) -> Iterator[NDArray[np.uint8]]:
    distinct = list(landscape(*size, DISTINCT_FRAMES))
    there_and_back = distinct + distinct[::-1]  # no jump that would look like a cut
    return islice(cycle(there_and_back), round(seconds * FRAME_RATE))


def _encode(source: Path, output: Path, preset: str) -> tuple[EncodeResult, int]:
    """Runs in a process of its own: the result, and the peak resident set in bytes."""
    result = encode_file(source, output, EncodeSettings(preset=preset, device="cpu"))
    return result, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
