"""Predicted methods side by side: trained with equal computation, scored on the same clips.

An arm is a training configuration with one learning rate; it is trained, or continued, in a folder
of its own. An installed model is scored beside them. The comparison stands only if the baseline is
well above the mean frame of each clip.
"""

from __future__ import annotations

import csv
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from hypernet.errors import InvalidSettings
from hypernet.evaluation import provenance
from hypernet.evaluation.bd_rate import RatePoint, bd_psnr_db
from hypernet.evaluation.metrics import PsnrAccumulator
from hypernet.evaluation.suites import find_clips
from hypernet.evaluation.table import write_tsv
from hypernet.predictor.files import find_predictor
from hypernet.predictor.predicted import ClipPredictor
from hypernet.predictor.predictor import load_clip_predictor
from hypernet.training.config import TrainingConfig, load_config
from hypernet.training.dataset import Batch
from hypernet.training.export import write_model
from hypernet.training.methods import method_of
from hypernet.training.trainer import CHECKPOINT_NAME, run_training
from hypernet.training.validation import read_rgb, score_video

QUALITIES = (1, 25, 50, 75, 100)
FLOOR_MARGIN_DB = 3.0
COUNTED_STEPS = 5
"""Steps, spread over a run, whose operations are counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One model to score.

    Attributes:
        name: of the configuration or of the installed model.
        learning_rate: None for an installed model.
        config: None for an installed model.
    """

    name: str
    learning_rate: float | None = None
    config: TrainingConfig | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class FamilyRow:
    """One clip at one quality; ``floor_psnr_db`` is that of the whole clip's mean frame."""

    arm: str
    learning_rate: float | None
    training_tflop: float | None
    training_tubelets: int | None
    clip: str
    quality: int
    frames: int
    psnr_db: float
    bits_per_pixel: float
    floor_psnr_db: float
    commit: str
    cpu: str
    threads: int


def make_arms(
    configs: Sequence[Path],
    rates: Sequence[float],
    models: Sequence[str],
    runs: Path,
    steps: int | None = None,
) -> list[Arm]:
    """Every configuration with every learning rate, its own without any; then installed models.

    Args:
        configs: training configurations.
        rates: learning rates.
        models: names of installed predictors.
        runs: folder that holds one folder per arm.
        steps: length of every schedule, for short arms; its own by default.

    Raises:
        InvalidSettings: a configuration cannot be used.
    """
    arms = []
    for path in configs:
        config = load_config(path)
        for rate in rates or (config.schedule.learning_rate,):
            folder = runs / f"{path.stem}-{rate:g}"
            schedule = replace(config.schedule, learning_rate=rate)
            changed = replace(
                config,
                schedule=replace(schedule, steps=steps or schedule.steps),
                output=replace(config.output, folder=str(folder)),
            )
            arms.append(Arm(name=path.stem, learning_rate=rate, config=changed))
    return [*arms, *(Arm(name=name) for name in models)]


def run_family(
    arms: Sequence[Arm],
    *,
    suite: str,
    table: Path,
    qualities: Sequence[int] = QUALITIES,
    clips: Sequence[str] = (),
    max_frames: int = 64,
    on_row: Callable[[FamilyRow], None] = lambda _: None,
) -> list[FamilyRow]:
    """Train what is not trained yet, score every arm, and write the table after each row.

    Args:
        arms: from ``make_arms``.
        suite: ``val``, ``standard`` or a folder of clips.
        table: TSV file; rows of this commit that it holds are not measured again.
        qualities: 1 to 100.
        clips: only clips whose file name contains one of these.
        max_frames: leading frames of each clip.
        on_row: called after each new row.

    Raises:
        InvalidSettings: no clips, no such model, or a table of another commit.
        OutputNotWritable: the table cannot be written.
    """
    rows = _earlier_rows(table, provenance.commit())
    known = {(row.arm, row.learning_rate, row.clip, row.quality) for row in rows}
    columns = [field.name for field in dataclasses.fields(FamilyRow)]
    for arm in arms:
        wanted = [
            (path, quality)
            for path in find_clips(suite, clips)
            for quality in qualities
            if (arm.name, arm.learning_rate, path.name, quality) not in known
        ]
        for row in _measured(arm, wanted, max_frames) if wanted else ():
            rows.append(row)
            write_tsv(table, columns, [dataclasses.astuple(each) for each in rows])
            on_row(row)
    return rows


def training_tflop(config: TrainingConfig) -> float:
    """Operations of a whole run in units of 10^12, counted on a few of its steps."""
    method = method_of(config)
    model, sampling = method.build(), method.sampling()
    shape = (1, 2, 8, 3, sampling.height, sampling.width)
    batch = Batch(frames=torch.zeros(shape, dtype=torch.uint8), offset=torch.tensor([-4.5]))
    steps = config.schedule.steps
    total = 0
    for number in range(COUNTED_STEPS):
        step = (2 * number + 1) * steps // (2 * COUNTED_STEPS)
        with FlopCounterMode(display=False) as counter:
            losses = method.losses(model, batch, step, torch.Generator().manual_seed(0))
            torch.autograd.backward(losses.total)
        total += counter.get_total_flops()
    return total / COUNTED_STEPS * config.data.pairs * steps / 1e12


def compare_with(rows: Sequence[FamilyRow], baseline: str) -> dict[str, float]:
    """Decibels of each arm over the baseline at equal rate, each at its best learning rate.

    Means over the clips whose curves overlap; NaN where none do.
    """
    best = {arm: _best_rate(rows, arm) for arm in dict.fromkeys(row.arm for row in rows)}
    curves: dict[tuple[str, str], list[RatePoint]] = {}
    for row in rows:
        if row.learning_rate == best[row.arm]:
            point = RatePoint(rate=row.bits_per_pixel, psnr_db=row.psnr_db)
            curves.setdefault((row.arm, row.clip), []).append(point)
    compared = {}
    for arm in best:
        pairs = [
            (curves.get((baseline, clip), []), c) for (a, clip), c in curves.items() if a == arm
        ]
        gains = [gain for pair in pairs if (gain := bd_psnr_db(*pair).value) is not None]
        compared[arm] = sum(gains) / len(gains) if gains else float("nan")
    return compared


def margin_over_floor(rows: Sequence[FamilyRow], arm: str) -> float:
    """Decibels of an arm's best point over the mean frame, mean over clips."""
    rate = _best_rate(rows, arm)
    margins: dict[str, float] = {}
    for row in rows:
        if row.arm == arm and row.learning_rate == rate:
            margin = row.psnr_db - row.floor_psnr_db
            margins[row.clip] = max(margin, margins.get(row.clip, margin))
    return sum(margins.values()) / len(margins) if margins else float("nan")


def _best_rate(rows: Sequence[FamilyRow], arm: str) -> float | None:
    sums: dict[float | None, list[float]] = {}
    for row in rows:
        if row.arm == arm:
            sums.setdefault(row.learning_rate, []).append(row.psnr_db)
    return max(sums, key=lambda rate: sum(sums[rate]) / len(sums[rate]), default=None)


def _measured(arm: Arm, wanted: Sequence[tuple[Path, int]], max_frames: int) -> Iterator[FamilyRow]:
    predictor = _trained(arm)
    tflop = None if arm.config is None else round(training_tflop(arm.config), 3)
    tubelets = None
    if arm.config is not None:
        tubelets = arm.config.schedule.steps * arm.config.data.pairs
    for path, quality in wanted:
        score = score_video(predictor, path, quality=quality, max_frames=max_frames)
        yield FamilyRow(
            arm=arm.name,
            learning_rate=arm.learning_rate,
            training_tflop=tflop,
            training_tubelets=tubelets,
            clip=path.name,
            quality=quality,
            frames=len(score.error_THW),
            psnr_db=round(score.psnr_db, 4),
            bits_per_pixel=round(score.bits_per_pixel, 6),
            floor_psnr_db=round(mean_frame_psnr_db(path), 4),
            commit=provenance.commit(),
            cpu=provenance.processor(),
            threads=torch.get_num_threads(),
        )


def _trained(arm: Arm) -> ClipPredictor:
    if arm.config is None:
        file = find_predictor(arm.name)
        return load_clip_predictor(file.path, file.decode_file().path)
    folder = Path(arm.config.output.folder)
    run_training(arm.config, resume=(folder / CHECKPOINT_NAME).exists())
    files, _, _ = write_model(arm.config, folder / "model")
    return load_clip_predictor(files.predictor, files.decode_file)


@cache
def mean_frame_psnr_db(path: Path) -> float:
    """Of one picture for the whole clip, the mean of its frames; few frames have a higher one."""
    frames = read_rgb(path, sys.maxsize)
    mean = frames.mean(axis=0, dtype="float64").round().astype("uint8")
    psnr = PsnrAccumulator()
    for frame in frames:
        psnr.add(frame, mean)
    return psnr.psnr_db


def _earlier_rows(table: Path, commit: str) -> list[FamilyRow]:
    """Rows of an interrupted run."""
    if not table.exists():
        return []
    try:
        with table.open(newline="", encoding="utf-8") as file:
            rows = [_row(cells) for cells in csv.DictReader(file, delimiter="\t")]
    except (OSError, TypeError, ValueError) as error:
        raise InvalidSettings(f"{table} is not such a table: {error}; move it away") from error
    others = sorted({row.commit for row in rows} - {commit})
    if others:
        raise InvalidSettings(
            f"{table} holds rows of commit {', '.join(others)} and this is {commit}; rows of "
            "different code are not mixed: move it away, or choose another --out"
        )
    return rows


def _row(cells: dict[str, str]) -> FamilyRow:
    kinds = {field.name: str(field.type) for field in dataclasses.fields(FamilyRow)}
    values: dict[str, Any] = {}
    for name, cell in cells.items():
        kind = kinds.get(name, "")
        if cell == "" and kind.endswith("None"):
            values[name] = None
        else:
            values[name] = {"i": int, "f": float}.get(kind[:1], str)(cell)
    return FamilyRow(**values)
