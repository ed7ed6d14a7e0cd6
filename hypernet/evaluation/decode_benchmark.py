"""What decoding costs: every preset at one size, sequentially and one frame at random."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch

from hypernet.bitstream.segment import decode_segment, read_segment_timing
from hypernet.bitstream.sources import CountingSource, FileSource
from hypernet.codec import encode_file
from hypernet.decoding import NrvStream
from hypernet.evaluation import provenance
from hypernet.evaluation.encoders import LOSSLESS_RGB, write_video
from hypernet.evaluation.synthetic import landscape
from hypernet.evaluation.table import write_tsv
from hypernet.plan import EncodeSettings
from hypernet.preset import SEGMENT_FRAMES

SEGMENTS = 3
REPEATS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodeRow:
    """Decoding of one stream. Times are the best of a few runs.

    ``random_frame_share`` is the time to open the stream and decode one frame of its middle
    segment over the time to decode that segment; ``random_frame_bytes`` is what was read for it,
    ``needed_bytes`` the length of header, index and that segment.
    """

    preset: str
    width: int
    height: int
    frames: int
    kilo_multiply_adds_per_pixel: float
    weights_per_segment: int
    stream_bytes: int
    frames_per_second: float
    entropy_milliseconds_per_segment: float
    random_frame_share: float
    random_frame_bytes: int
    needed_bytes: int
    commit: str
    cpu: str
    threads: int
    load_average: float | None


def run_decode(
    *,
    table: Path,
    presets: Sequence[str],
    width: int = 854,
    height: int = 480,
    on_row: Callable[[DecodeRow], None] = lambda _: None,
) -> list[DecodeRow]:
    """Encode a made-up clip with each preset (hardly fitted: content costs no time) and decode it.

    Args:
        table: TSV file; replaced.
        presets: by name.
        width: of the clip.
        height: of the clip.
        on_row: called after each preset.

    Raises:
        InvalidSettings: unknown preset.
        OutputNotWritable: the table cannot be written.
    """
    rows: list[DecodeRow] = []
    columns = [field.name for field in dataclasses.fields(DecodeRow)]
    with tempfile.TemporaryDirectory(prefix="nrv-bench-") as folder:
        source = Path(folder, "source.mkv")
        frames = landscape(width, height, SEGMENTS * SEGMENT_FRAMES)
        write_video(frames, source, Fraction(25), LOSSLESS_RGB)
        for preset in presets:
            output = Path(folder, f"{preset}.nrv")
            settings = EncodeSettings(preset=preset, quality=50, steps=1, device="cpu")
            encode_file(source, output, settings)
            rows.append(measure_decoding(output, preset))
            write_tsv(table, columns, [dataclasses.astuple(row) for row in rows])
            on_row(rows[-1])
    return rows


def measure_decoding(path: Path, preset: str) -> DecodeRow:
    """Time the decoding of one stream file on the CPU."""
    load = provenance.load_average()
    with FileSource(path) as file:
        stream = NrvStream(file)
        header, index = stream.header, stream.reader.index
        middle = index.segments[len(index.segments) // 2]
        number = middle.first_frame + middle.num_frames // 2
        end = middle.first_frame + middle.num_frames
        payload = stream.reader.segment(len(index.segments) // 2)
        counting = CountingSource(file)
        NrvStream(counting).frame(number)
        segment_seconds = _best(lambda: _drain(stream, middle.first_frame, end))
        frame_seconds = _best(lambda: NrvStream(file).frame(number))
        all_seconds = _best(lambda: _drain(stream, 0, header.num_frames))
        segments = stream.segments
        entropy_seconds = _best(
            lambda: decode_segment(payload, segments.specs_of, coding=segments.coding)
        )
        clips = [segments.decoder_of(n) for n in read_segment_timing(payload).clip_frames]
        return DecodeRow(
            preset=preset,
            width=header.width,
            height=header.height,
            frames=header.num_frames,
            kilo_multiply_adds_per_pixel=round(clips[0].multiply_adds_per_pixel() / 1000, 3),
            weights_per_segment=sum(spec.size for clip in clips for spec in clip.weight_specs()),
            stream_bytes=path.stat().st_size,
            frames_per_second=round(header.num_frames / all_seconds, 2),
            entropy_milliseconds_per_segment=round(1000 * entropy_seconds, 2),
            random_frame_share=round(frame_seconds / segment_seconds, 4),
            random_frame_bytes=counting.bytes_read,
            needed_bytes=stream.reader.preamble.front_length + middle.length,
            commit=provenance.commit(),
            cpu=provenance.processor(),
            threads=torch.get_num_threads(),
            load_average=load,
        )


def _drain(stream: NrvStream, start: int, stop: int) -> None:
    for _ in stream.frames(start, stop):
        pass


def _best(work: Callable[[], object]) -> float:
    """Least seconds of a few runs: what the machine can do when nothing else disturbs it."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)
