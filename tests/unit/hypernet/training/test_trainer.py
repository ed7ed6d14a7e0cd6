from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hypernet.errors import EncodeFailed, InvalidSettings, OutputNotWritable
from hypernet.training.trainer import train
from tests.unit.hypernet.training.samples import (
    DEBUG,
    DEBUG_NERV_ENC,
    DEBUG_TECONERV,
    make_config,
    make_sources,
)


@pytest.fixture(name="sources", scope="module")
def _sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sources(tmp_path_factory.mktemp("trainer"))


@pytest.mark.parametrize("shipped", [DEBUG, DEBUG_TECONERV, DEBUG_NERV_ENC])
def test_a_resumed_run_ends_exactly_where_an_unbroken_one_does(
    tmp_path: Path, sources: Path, shipped: Path
) -> None:
    unbroken = train(make_config(tmp_path, sources, "unbroken", shipped, steps="8"))
    broken = make_config(tmp_path, sources, "broken", shipped, steps="8")
    halfway = train(broken, stop_after=4)
    assert halfway.steps == 4
    finished = train(broken, resume=True)
    assert finished.steps == unbroken.steps == 8
    one, two = load_file(unbroken.checkpoint), load_file(finished.checkpoint)
    assert one.keys() == two.keys()
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert _losses(tmp_path / "unbroken") == _losses(tmp_path / "broken")


def _losses(folder: Path) -> list[tuple[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return [(row["step"], row["total"]) for row in csv.DictReader(file)]


def test_training_lowers_the_loss_and_leaves_a_record(tmp_path: Path, sources: Path) -> None:
    config = make_config(tmp_path, sources, steps="30", warmup_steps="2", sample_steps="30")
    result = train(config)
    losses = [float(total) for _, total in _losses(tmp_path / "run")]
    assert len(losses) == 15
    assert sum(losses[-4:]) < sum(losses[:4])
    assert 0 <= result.data_wait_share <= 1
    assert {name for name, _ in result.skipped} >= {"cc_text.mp4", "bb_small.mp4"}
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert written == {"log.csv", "checkpoint.safetensors", "sample-000030.png", "curves.png"}


def test_coherence_counts_from_its_share_of_the_run_on(tmp_path: Path, sources: Path) -> None:
    train(make_config(tmp_path, sources, shipped=DEBUG_TECONERV, steps="8", sample_steps="8"))
    with (tmp_path / "run" / "log.csv").open(newline="") as file:
        incoherence = [float(row["incoherence"]) for row in csv.DictReader(file)]
    assert incoherence[:2] == [0.0, 0.0]
    assert min(incoherence[2:]) > 0
    assert (tmp_path / "run" / "sample-000008.png").exists()


def test_an_earlier_run_is_not_overwritten(tmp_path: Path, sources: Path) -> None:
    config = make_config(tmp_path, sources, steps="1")
    train(config)
    with pytest.raises(OutputNotWritable, match="--resume"):
        train(config)


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path, sources: Path) -> None:
    train(make_config(tmp_path, sources, steps="1"))
    other = make_config(tmp_path, sources, steps="1", width="34")
    with pytest.raises(InvalidSettings, match="another configuration"):
        train(other, resume=True)


def test_there_is_nothing_to_resume(tmp_path: Path, sources: Path) -> None:
    with pytest.raises(InvalidSettings, match="cannot read checkpoint"):
        train(make_config(tmp_path, sources), resume=True)


def test_divergence_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path, sources: Path) -> None:
    config = make_config(tmp_path, sources, steps="40", learning_rate="1e30", warmup_steps="1")
    with pytest.raises(EncodeFailed, match="diverged at step"):
        train(config)
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    if checkpoint.exists():
        assert all(torch.isfinite(value).all() for value in load_file(checkpoint).values())


def test_an_output_folder_that_cannot_be_made(tmp_path: Path, sources: Path) -> None:
    (tmp_path / "run").write_text("a file is in the way")
    with pytest.raises(OutputNotWritable, match="cannot make"):
        train(make_config(tmp_path, sources))
