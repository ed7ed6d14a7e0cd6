"""How much sooner a hypernetwork is done than a fit that reaches the same quality in equal bytes.

The claim is that of NeRV-Enc (arXiv 2409.19429). Clips are small, so that fits end. A fit has as
many bytes as the predicted stream, within 2 %, and is tried at several learning rates; the best of
them then runs longer and longer until it crosses the predicted stream's PSNR. A fit that does not
is no result, only a bound.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from hypernet.codec import encode_file
from hypernet.decoders.spectrum import CLIP_FRAMES
from hypernet.decoding import open_stream
from hypernet.evaluation import provenance
from hypernet.evaluation.encoders import LOSSLESS_RGB, write_video
from hypernet.evaluation.fit_trial import FittedSegment
from hypernet.evaluation.metrics import PsnrAccumulator
from hypernet.evaluation.run_table import RunTable
from hypernet.evaluation.suites import find_clips, scaled_frames
from hypernet.fitted_presets import NERV
from hypernet.plan import EncodeSettings
from hypernet.predictor.files import find_predictor
from hypernet.predictor.predictor import load_clip_predictor
from hypernet.presets import DEFAULT_MODEL


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedPlan:
    """What is measured.

    Attributes:
        clips: parts of their names.
        frames: leading frames of each clip, at most one segment.
        width: they are scaled to it.
        height: they are scaled to it.
        quality: of ``fast``; the lower, the sooner a fit gets there.
        rates: learning rates of the fit.
        epochs: lengths of the fit; all rates have the first, the best one also the others.
    """

    clips: tuple[str, ...] = ("cups", "highway", "studio")
    frames: int = 48
    width: int = 320
    height: int = 180
    quality: int = 25
    rates: tuple[float, ...] = (0.01, 0.02, 0.04)
    epochs: tuple[int, ...] = (20, 80, 320, 1280)


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedRow:
    """One fit beside what it has to reach.

    ``predict_seconds`` are those of ``fast`` from file to file, models loaded before;
    ``forward_seconds`` those of the forward passes alone, with rounding, without motion search.
    ``fit_seconds`` are those of gradient steps alone, of the trial whose bytes fit.
    """

    clip: str
    quality: int
    frames: int
    width: int
    height: int
    predicted_bytes: int
    predicted_psnr_db: float
    predict_seconds: float
    forward_seconds: float
    learning_rate: float
    epochs: int
    fit_bytes: int
    fit_psnr_db: float
    fit_seconds: float
    crossed: bool
    times_file_to_file: float
    times_forward: float
    commit: str
    cpu: str
    threads: int
    load_average: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Predicted:
    """A clip encoded by ``fast``."""

    weight_bytes: int
    psnr_db: float
    seconds: float
    forward_seconds: float


def run_speed(
    *,
    suite: str,
    table: Path,
    plan: SpeedPlan,
    fresh: bool = False,
    on_row: Callable[[SpeedRow], None] = lambda _: None,
) -> Path:
    """Measure every clip; a clip that was begun is begun again, whole ones are kept.

    Args:
        suite: ``val``, ``standard`` or a folder, in which the plan's clips are.
        table: TSV file.
        plan: what is measured.
        fresh: start the table over.
        on_row: called after each fit.

    Raises:
        InvalidSettings: no such clip, or the table holds rows of another commit.
        UnreadableInput, OutputNotWritable: a clip, the table.
    """
    rows = RunTable[SpeedRow](table, SpeedRow, fresh=fresh)
    for path in find_clips(suite, plan.clips):
        if rows.holds(clip=path.name):
            continue
        frames = scaled_frames(path, plan.frames, plan.width, plan.height)
        for row in list(_rows(path.name, frames, plan, on_row)):
            rows.append(row)
    return rows.path


def _rows(
    clip: str, frames_TCHW: Tensor, plan: SpeedPlan, on_row: Callable[[SpeedRow], None]
) -> Iterator[SpeedRow]:
    """Every rate at the least budget, then the best rate at larger ones until it crosses."""
    predicted = _predict(frames_TCHW, plan.quality)
    bits_per_pixel = 8 * predicted.weight_bytes / (frames_TCHW.numel() / 3)
    segments = {
        rate: FittedSegment(replace(NERV, learning_rate=rate), frames_TCHW, bits_per_pixel)
        for rate in plan.rates
    }

    def fit(rate: float, epochs: int) -> SpeedRow:
        row = _fitted(clip, segments[rate], epochs, predicted, plan)
        on_row(row)
        return row

    least, *more = plan.epochs
    tried = [fit(rate, least) for rate in plan.rates]
    yield from tried
    best = max(tried, key=lambda row: row.fit_psnr_db)
    for epochs in more:
        if best.crossed:
            return
        best = fit(best.learning_rate, epochs)
        yield best


def _predict(frames_TCHW: Tensor, quality: int) -> _Predicted:
    with tempfile.TemporaryDirectory(prefix="nrv-bench-") as folder:
        source, output = Path(folder, "source.mkv"), Path(folder, "predicted.nrv")
        pictures = frames_TCHW.permute(0, 2, 3, 1).contiguous().numpy()
        write_video(pictures, source, Fraction(25), LOSSLESS_RGB)
        settings = EncodeSettings(preset="fast", quality=quality, device="cpu")
        encode_file(source, output, settings)  # loads the models
        started = time.perf_counter()
        encode_file(source, output, settings)
        seconds = time.perf_counter() - started
        psnr = PsnrAccumulator()
        with open_stream(output) as stream:
            weight_bytes = sum(entry.length for entry in stream.reader.index.segments)
            for original, frame in zip(pictures, stream.frames(), strict=True):
                psnr.add(original, frame.rgb_HWC)
    return _Predicted(
        weight_bytes=weight_bytes,
        psnr_db=psnr.psnr_db,
        seconds=seconds,
        forward_seconds=_forward_seconds(frames_TCHW, quality),
    )


def _forward_seconds(frames_TCHW: Tensor, quality: int) -> float:
    file = find_predictor(DEFAULT_MODEL)
    predictor = load_clip_predictor(file.path, file.decode_file().path)
    clips = torch.split(frames_TCHW, CLIP_FRAMES)
    predictor.predict(clips[0], quality)
    started = time.perf_counter()
    for clip in clips:
        predictor.predict(clip, quality, motion_steps=0)
    return time.perf_counter() - started


def _fitted(
    clip: str, segment: FittedSegment, epochs: int, predicted: _Predicted, plan: SpeedPlan
) -> SpeedRow:
    load = provenance.load_average()
    trial, _ = segment.of_target_size(epochs)
    psnr_db = segment.decoded(trial.payload).psnr_db
    seconds = trial.moments[-1].seconds
    return SpeedRow(
        clip=clip,
        quality=plan.quality,
        frames=segment.shape.frames,
        width=segment.shape.width,
        height=segment.shape.height,
        predicted_bytes=predicted.weight_bytes,
        predicted_psnr_db=round(predicted.psnr_db, 3),
        predict_seconds=round(predicted.seconds, 3),
        forward_seconds=round(predicted.forward_seconds, 4),
        learning_rate=segment.family.learning_rate,
        epochs=epochs,
        fit_bytes=len(trial.payload),
        fit_psnr_db=round(psnr_db, 3),
        fit_seconds=round(seconds, 2),
        crossed=psnr_db >= predicted.psnr_db,
        times_file_to_file=round(seconds / predicted.seconds, 1),
        times_forward=round(seconds / predicted.forward_seconds, 1),
        commit=provenance.commit(),
        cpu=provenance.processor(),
        threads=torch.get_num_threads(),
        load_average=load,
    )
