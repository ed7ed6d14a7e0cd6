from __future__ import annotations

from pathlib import Path

from tests.unit.encoder_service.cli.conftest import Command
from tests.unit.hypernet.training.samples import make_config, make_sources, write_video


def test_a_trained_model_is_exported(nrv: Command, tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    write_video(tmp_path / "val" / "val_one.mp4", 9, (64, 48))
    val = f'"{tmp_path / "val"}"'
    config = make_config(tmp_path, make_sources(tmp_path), steps="1", val=val)
    trained = nrv("train", str(config))
    assert trained.status == 0
    assert "1 steps" in trained.out
    exported = nrv("export", str(config), "-o", str(tmp_path / "models"))
    assert exported.status == 0
    written = [Path(line) for line in exported.out.split()]
    assert [path.name.partition(".")[2] for path in written] == [
        "predictor.safetensors",
        "decode.safetensors",
        "md",
    ]
    assert all(path.is_file() for path in written)


def test_without_a_checkpoint_nothing_is_exported(nrv: Command, tmp_path: Path) -> None:
    config = make_config(tmp_path, make_sources(tmp_path))
    outcome = nrv("export", str(config), "-o", str(tmp_path / "models"))
    assert outcome.status == 2
    assert "cannot read checkpoint" in outcome.err
    assert not (tmp_path / "models").exists()
