"""What the parts of predicted streams are worth: references, motion; and their borders."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypernet.decoders.coding_order import Step, all_keys, chain
from hypernet.decoders.spectrum import CLIP_FRAMES, GRID_CELL
from hypernet.errors import InvalidSettings
from hypernet.evaluation import provenance
from hypernet.evaluation.bd_rate import RatePoint, bd_psnr_db, bd_rate_percent
from hypernet.evaluation.suites import find_clips
from hypernet.evaluation.table import write_tsv
from hypernet.predictor.files import find_predictor
from hypernet.predictor.predictor import Predictor, load_clip_predictor
from hypernet.predictor.transformer import TILE_CELLS
from hypernet.training.validation import ClipScore, read_rgb, score_video

QUALITIES = (20, 40, 60, 80)
MEAN_CLIPS = 40
TILE = TILE_CELLS * GRID_CELL
Order = Callable[[int], Sequence[Step]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One way of coding: in another order than the predictor's own, or with averaged weights."""

    order: Order | None = None
    averaged: tuple[str, ...] = ()


ARMS = {
    "standard": Arm(),
    "all-keys": Arm(order=all_keys),
    "chain": Arm(order=chain),
    "mean-motion": Arm(averaged=("motion", "sway")),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictorRow:
    """One clip coded one way.

    Borders compare the error's steps there with those inside. Sources that were coded before have
    borders of their own, which a smooth picture lacks: ``source_border_ratio`` is that of a source.
    """

    clip: str
    arm: str
    quality: int
    frames: int
    psnr_db: float
    bits_per_pixel: float
    tile_border_ratio: float
    cell_border_ratio: float
    source_border_ratio: float
    predictor: str
    commit: str
    cpu: str
    threads: int
    load_average: float | None


def run_predictor(
    *,
    suite: str,
    training: str,
    table: Path,
    model: str,
    arms: Sequence[str] = tuple(ARMS),
    qualities: Sequence[int] = QUALITIES,
    clips: Sequence[str] = (),
    max_frames: int = 64,
    on_row: Callable[[PredictorRow], None] = lambda _: None,
) -> list[PredictorRow]:
    """Score every clip with every arm and quality, without a container, and write the table.

    Args:
        suite: ``val``, ``standard`` or a folder of clips.
        training: the same, for the mean weights of the ablation.
        table: TSV file; replaced.
        model: name of an installed predictor.
        arms: of ``ARMS``.
        qualities: 1 to 100.
        clips: only clips whose file name contains one of these.
        max_frames: leading frames of each clip.
        on_row: called after each row.

    Raises:
        InvalidSettings: no clips, or no such predictor.
        OutputNotWritable: the table cannot be written.
    """
    file = find_predictor(model)
    predictor = load_clip_predictor(file.path, file.decode_file().path)
    means: Mapping[str, Tensor] = {}
    if _averages(arms):
        if not isinstance(predictor, Predictor):
            raise InvalidSettings(f"{model} has no motion to average: choose other arms")
        means = _mean_weights(predictor, find_clips(training, ()))
    rows: list[PredictorRow] = []
    columns = [field.name for field in dataclasses.fields(PredictorRow)]
    for path in find_clips(suite, clips):
        source = border_ratio(_grey(read_rgb(path, max_frames)), TILE)
        for name in arms:
            for quality in qualities:
                score = score_video(
                    predictor,
                    path,
                    quality=quality,
                    max_frames=max_frames,
                    order=ARMS[name].order,
                    mean_weights={part: means[part] for part in ARMS[name].averaged},
                )
                rows.append(
                    _row(score, path.name, name, quality, source=source, predictor=file.sha256)
                )
                write_tsv(table, columns, [dataclasses.astuple(row) for row in rows])
                on_row(rows[-1])
    return rows


def compare_arms(rows: Sequence[PredictorRow]) -> dict[str, tuple[float, float]]:
    """Bytes of each arm against the standard in percent at equal PSNR, and decibels at equal rate.

    Means over the clips whose curves overlap; NaN where none do.
    """
    curves: dict[tuple[str, str], list[RatePoint]] = {}
    for row in rows:
        point = RatePoint(rate=row.bits_per_pixel, psnr_db=row.psnr_db)
        curves.setdefault((row.arm, row.clip), []).append(point)
    compared: dict[str, tuple[float, float]] = {}
    for arm in dict.fromkeys(row.arm for row in rows):
        pairs = [(curves["standard", clip], c) for (a, clip), c in curves.items() if a == arm]
        rates = [bd_rate_percent(*pair).value for pair in pairs]
        decibels = [bd_psnr_db(*pair).value for pair in pairs]
        compared[arm] = _mean(rates), _mean(decibels)
    return compared


def border_ratio(error_THW: Tensor, period: int) -> float:
    """Mean absolute step of an error across borders of a period, over that everywhere else."""
    across: list[Tensor] = []
    inside: list[Tensor] = []
    for axis in (1, 2):
        steps = error_THW.diff(dim=axis).abs().movedim(axis, 0)
        is_border = (torch.arange(1, len(steps) + 1) % period) == 0
        across.append(steps[is_border].flatten())
        inside.append(steps[~is_border].flatten())
    border, interior = torch.cat(across), torch.cat(inside)
    if not border.numel() or not interior.numel():
        return math.nan
    return float(border.mean() / interior.mean())


def _row(
    score: ClipScore, clip: str, arm: str, quality: int, *, source: float, predictor: str
) -> PredictorRow:
    return PredictorRow(
        clip=clip,
        arm=arm,
        quality=quality,
        frames=len(score.error_THW),
        psnr_db=round(score.psnr_db, 4),
        bits_per_pixel=round(score.bits_per_pixel, 6),
        tile_border_ratio=round(border_ratio(score.error_THW, TILE), 4),
        cell_border_ratio=round(border_ratio(score.error_THW, GRID_CELL), 4),
        source_border_ratio=round(source, 4),
        predictor=predictor[:16],
        commit=provenance.commit(),
        cpu=provenance.processor(),
        threads=torch.get_num_threads(),
        load_average=provenance.load_average(),
    )


def _grey(frames_THWC: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(frames_THWC).float().mean(3)


def _averages(arms: Sequence[str]) -> bool:
    return any(ARMS[name].averaged for name in arms)


def _mean_weights(predictor: Predictor, paths: Sequence[Path]) -> Mapping[str, Tensor]:
    """Of motion, per channel, over the first clips of training videos."""
    sums: dict[str, list[Tensor]] = {"motion": [], "sway": []}
    for path in paths[:: max(1, len(paths) // MEAN_CLIPS)]:
        clip = torch.from_numpy(read_rgb(path, CLIP_FRAMES)).permute(0, 3, 1, 2)
        weights = predictor.predict(clip, 50).weights()
        for name, parts in sums.items():
            parts.append(weights[name].mean((1, 2)))
    return {name: torch.stack(parts).mean(0) for name, parts in sums.items()}


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else math.nan
