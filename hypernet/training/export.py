"""From a checkpoint to the files that are shipped: predictor, decode file, and a card."""

from __future__ import annotations

import csv
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from hypernet.decoders.decode_file import decode_file_name, load_decode_file
from hypernet.errors import InvalidSettings, OutputNotWritable
from hypernet.predictor.predicted import ClipPredictor
from hypernet.predictor.predictor import load_clip_predictor, load_predictor
from hypernet.predictor.weight_predictor import WeightPredictor
from hypernet.training.checkpoint import Progress, load_average
from hypernet.training.config import TrainingConfig, load_config
from hypernet.training.dataset import PairSampler
from hypernet.training.frame_cache import FrameCache, build_cache
from hypernet.training.methods import method_of
from hypernet.training.prior_tuning import PriorTuning, coded_pairs, tune_prior
from hypernet.training.trainer import CHECKPOINT_NAME
from hypernet.training.validation import ClipScore, score_video

MANIFEST_NAME = "MANIFEST.csv"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedModel:
    """The files of a model."""

    predictor: Path
    decode_file: Path
    card: Path


def export_model(
    config_path: Path,
    folder: Path,
    *,
    qualities: Sequence[int],
    max_frames: int = 64,
    remarks: str = "",
    tuning: PriorTuning | None = None,
) -> ExportedModel:
    """Write the averaged weights of a run's last checkpoint, scored on its validation videos.

    Args:
        config_path: of the run.
        folder: where the files go; a decode file that is already there is never changed.
        qualities: operating points of the scores.
        max_frames: leading frames of each validation video.
        remarks: what a user should know, as Markdown; goes on the card.
        tuning: of the prior, before anything is written.

    Raises:
        InvalidSettings: bad configuration, no checkpoint of it, or no prior to tune.
        OutputNotWritable: the files cannot be written.
    """
    config = load_config(config_path)
    files, progress, cache = write_model(config, folder, tuning)
    predictor = load_clip_predictor(files.predictor, files.decode_file)
    scores = {quality: _scores(predictor, config, quality, max_frames) for quality in qualities}
    text = _card(
        config=config,
        config_path=config_path,
        progress=progress,
        cache=cache,
        scores=scores,
        files=files,
        max_frames=max_frames,
        remarks=remarks,
        tuning=tuning,
    )
    _write(files.card, text.encode())
    return files


def write_model(
    config: TrainingConfig, folder: Path, tuning: PriorTuning | None = None
) -> tuple[ExportedModel, Progress, FrameCache]:
    """Write predictor and decode file of a run's last checkpoint; the card is left to others.

    Raises:
        InvalidSettings: no checkpoint of that configuration, or no prior to tune.
        OutputNotWritable: the files cannot be written.
    """
    model = method_of(config).build()
    progress = load_average(Path(config.output.folder) / CHECKPOINT_NAME, model, config.fingerprint)
    cache = build_cache(
        Path(config.data.train),
        Path(config.data.cache),
        max_frames=config.data.max_frames,
        min_side=config.data.crop,
        min_frames=16,
    )
    if tuning is not None:
        _tune(config, model, cache, tuning)
    return _write_files(config, model, cache, folder), progress, cache


def _tune(config: TrainingConfig, model: nn.Module, cache: FrameCache, tuning: PriorTuning) -> None:
    if not isinstance(model, WeightPredictor):
        raise InvalidSettings(f"{config.model_name} has no prior to tune")
    with tempfile.TemporaryDirectory() as scratch:
        files = _write_files(config, model, cache, Path(scratch))
        predictor = load_predictor(files.predictor, files.decode_file)
        pairs = coded_pairs(predictor, cache, tuning, config.seed)
    tune_prior(model.prior, pairs, tuning, config.seed)


def _write_files(
    config: TrainingConfig, model: nn.Module, cache: FrameCache, folder: Path
) -> ExportedModel:
    method = method_of(config)
    decode_data = method.decode_data(model)
    files = ExportedModel(
        predictor=folder / f"{config.model_name}.predictor.safetensors",
        decode_file=folder / decode_file_name(decode_data),
        card=folder / f"{config.model_name}.md",
    )
    _write(files.decode_file, decode_data)
    sampler = PairSampler(
        cache, sampling=method.sampling(), pairs=config.data.pairs, seed=config.seed
    )
    sha256 = load_decode_file(files.decode_file).sha256
    _write(files.predictor, method.predictor_data(model, sha256, sampler))
    return files


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        raise OutputNotWritable(f"cannot write {path}: {error}") from error


def _scores(
    predictor: ClipPredictor, config: TrainingConfig, quality: int, max_frames: int
) -> list[ClipScore]:
    videos = sorted(p for p in Path(config.data.val).iterdir() if p.suffix in {".mp4", ".mkv"})
    return [score_video(predictor, path, quality=quality, max_frames=max_frames) for path in videos]


def _card(
    *,
    config: TrainingConfig,
    config_path: Path,
    progress: Progress,
    cache: FrameCache,
    scores: dict[int, list[ClipScore]],
    files: ExportedModel,
    max_frames: int,
    remarks: str,
    tuning: PriorTuning | None,
) -> str:
    sampling = method_of(config).sampling()
    parts = [
        f"# {config.model_name}",
        f"Predictor `{files.predictor.name}` ({files.predictor.stat().st_size:,} bytes) and decode "
        f"file `{files.decode_file.name}` ({files.decode_file.stat().st_size:,} bytes), float16, "
        "averaged weights.",
        remarks,
        "## Training",
        f"{progress.step:,} steps of {config.data.pairs} pairs of clips of 8x{sampling.height}x"
        f"{sampling.width} pixels in {progress.seconds / 3600:.1f} hours of wall time, seed "
        f"{config.seed}, configuration `{config.fingerprint}`. Continue with "
        f"`nrv train {config_path.name} --resume`." + _tuning_text(tuning),
        "## Scores",
        f"Leading {max_frames} frames of each validation video: PSNR (8-bit RGB, mean over frames) "
        "and bits per pixel (entropy-coded weights).",
        _score_table(scores),
        "## Data",
        "Clips used by group, with the licences that their repositories state:",
        _data_table(config, cache),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _tuning_text(tuning: PriorTuning | None) -> str:
    if tuning is None:
        return ""
    return (
        f" Then {tuning.steps:,} steps of the prior alone, on what is sent of {tuning.pairs:,} "
        f"pairs of crops of {tuning.crop} pixels."
    )


def _score_table(scores: dict[int, list[ClipScore]]) -> str:
    head = "| video | " + " | ".join(f"quality {q}" for q in scores) + " |"
    lines = [head, "|---|" + "---|" * len(scores)]
    for row in zip(*scores.values(), strict=True):
        cells = (f"{s.psnr_db:.2f} dB at {s.bits_per_pixel:.4f}" for s in row)
        lines.append(f"| {row[0].name} | " + " | ".join(cells) + " |")
    means = []
    for column in scores.values():
        psnr = sum(s.psnr_db for s in column) / len(column)
        rate = sum(s.bits_per_pixel for s in column) / len(column)
        means.append(f"{psnr:.2f} dB at {rate:.4f}")
    return "\n".join([*lines, "| **mean** | " + " | ".join(means) + " |"])


def _data_table(config: TrainingConfig, cache: FrameCache) -> str:
    licences = _licences(Path(config.data.train))
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for clip in cache.clips:
        groups[clip.prefix][licences.get(Path(clip.source).name, "not recorded")] += 1
    lines = ["| group | clips | licences |", "|---|---|---|"]
    for prefix, counts in sorted(groups.items()):
        stated = "; ".join(f"{licence} ({n})" for licence, n in counts.most_common())
        lines.append(f"| {prefix} | {counts.total()} | {stated.replace('|', '/')} |")
    lines += [f"\nSkipped {name}: {reason}" for name, reason in cache.skipped]
    return "\n".join(lines)


def _licences(train: Path) -> dict[str, str]:
    """Licence by file name, from the manifest beside the training folder if there is one."""
    manifest = train.parent / MANIFEST_NAME
    if not manifest.exists():
        return {}
    with manifest.open(newline="") as file:
        return {
            Path(row["file"]).name: row["licence_as_stated_by_repo"] or "none stated"
            for row in csv.DictReader(file)
        }
