from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hypernet.decoders.integer_prior import IntegerPrior
from hypernet.errors import InvalidSettings
from hypernet.predictor.predictor import load_predictor
from hypernet.training.config import load_config
from hypernet.training.export import ExportedModel, write_model
from hypernet.training.frame_cache import FrameCache
from hypernet.training.prior_tuning import CodedPair, PriorTuning, coded_pairs, tune_prior
from hypernet.training.trainer import train
from tests.unit.hypernet.training.samples import DEBUG_TECONERV, make_config, make_sources

SMALL = PriorTuning(steps=20, pairs=4, crop=64, learning_rate=3e-3)


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuning")
    train(make_config(folder, make_sources(folder), steps="2"))
    return folder


@pytest.fixture(name="written", scope="module")
def _written(folder: Path) -> tuple[ExportedModel, FrameCache]:
    files, _, cache = write_model(load_config(folder / "run.toml"), folder / "models")
    return files, cache


@pytest.fixture(name="pairs", scope="module")
def _pairs(written: tuple[ExportedModel, FrameCache]) -> list[CodedPair]:
    files, cache = written
    predictor = load_predictor(files.predictor, files.decode_file)
    return coded_pairs(predictor, cache, SMALL, seed=1)


def _bits(prior: IntegerPrior, pairs: list[CodedPair]) -> float:
    told: list[float] = []
    still = PriorTuning(steps=4 * len(pairs), learning_rate=0.0)
    tune_prior(prior, pairs, still, 0, lambda _step, bits: told.append(bits))
    return sum(told)


def test_tuning_takes_bits_off_what_it_saw(
    written: tuple[ExportedModel, FrameCache], pairs: list[CodedPair]
) -> None:
    files, _ = written
    prior = load_predictor(files.predictor, files.decode_file).decode_file.prior
    tuned = IntegerPrior(prior.config)
    tuned.load_integers(prior.integers())
    before = _bits(tuned, pairs)
    tune_prior(tuned, pairs, SMALL, 0)
    assert _bits(tuned, pairs) < 0.98 * before


def test_the_same_seed_gives_the_same_pairs(
    written: tuple[ExportedModel, FrameCache], pairs: list[CodedPair]
) -> None:
    files, cache = written
    predictor = load_predictor(files.predictor, files.decode_file)
    again = coded_pairs(predictor, cache, SMALL, seed=1)
    other = coded_pairs(predictor, cache, SMALL, seed=2)

    def steps(some: list[CodedPair]) -> list[int]:
        return [clip.step_index for pair in some for clip in pair]

    assert steps(again) == steps(pairs) != steps(other)
    for pair, same in zip(pairs, again, strict=True):
        assert all(torch.equal(a.grid(), b.grid()) for a, b in zip(pair, same, strict=True))


def test_clips_that_hold_no_crop_are_refused(written: tuple[ExportedModel, FrameCache]) -> None:
    files, cache = written
    predictor = load_predictor(files.predictor, files.decode_file)
    with pytest.raises(InvalidSettings, match="crops of 4096"):
        coded_pairs(predictor, cache, PriorTuning(crop=4096), seed=0)


def test_a_tuned_model_is_another_pair_of_files(
    folder: Path, written: tuple[ExportedModel, FrameCache]
) -> None:
    config = load_config(folder / "run.toml")
    files, _, _ = write_model(config, folder / "tuned", SMALL)
    assert files.decode_file.name != written[0].decode_file.name
    assert [p.name for p in (folder / "tuned").iterdir() if "decode" in p.name] == [
        files.decode_file.name
    ]
    clip = torch.randint(0, 256, (8, 3, 48, 64), dtype=torch.uint8)
    load_predictor(files.predictor, files.decode_file).predict(clip, 50)


def test_a_model_without_a_prior_is_refused(tmp_path: Path) -> None:
    path = make_config(tmp_path, make_sources(tmp_path), shipped=DEBUG_TECONERV, steps="1")
    train(path)
    with pytest.raises(InvalidSettings, match="no prior to tune"):
        write_model(load_config(path), tmp_path / "models", SMALL)
