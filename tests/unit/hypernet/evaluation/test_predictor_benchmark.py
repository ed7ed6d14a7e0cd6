from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hypernet.errors import InvalidSettings
from hypernet.evaluation.predictor_benchmark import border_ratio, compare_arms, run_predictor
from hypernet.presets import DEFAULT_MODEL
from tests.clips import make_clip


def test_borders_that_do_not_show_have_ratio_one() -> None:
    error = torch.randn(3, 128, 192, generator=torch.Generator().manual_seed(0))
    assert border_ratio(error, 64) == pytest.approx(1, abs=0.03)


def test_a_step_at_every_border_is_seen() -> None:
    tiles = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(1)) * 5
    error = tiles.repeat_interleave(16, 1).repeat_interleave(16, 2)
    error += 0.1 * torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(2))
    assert border_ratio(error, 16) > 10


def test_references_and_motion_are_worth_something(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    make_clip(folder / "clip.mkv", num_frames=24, size=(96, 64))
    rows = run_predictor(
        suite=str(folder),
        training=str(folder),
        table=tmp_path / "predictor.tsv",
        model=DEFAULT_MODEL,
        arms=("standard", "all-keys", "mean-motion"),
        qualities=(10, 35, 60, 85),
        max_frames=24,
    )
    assert len(rows) == 12
    assert len({row.source_border_ratio for row in rows}) == 1
    assert (tmp_path / "predictor.tsv").read_text().count("\n") >= 13
    compared = compare_arms(rows)
    assert max(map(abs, compared["standard"])) < 1e-9
    assert compared["all-keys"][0] > 0
    standard, mean = ([r.psnr_db for r in rows if r.arm == a] for a in ("standard", "mean-motion"))
    assert all(high > low for high, low in zip(standard, mean, strict=True))


def test_any_predictor_can_be_coded_in_any_order(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    make_clip(folder / "clip.mkv", num_frames=16, size=(96, 64))
    own, alone = run_predictor(
        suite=str(folder),
        training="",
        table=tmp_path / "predictor.tsv",
        model="teconerv-tiny",
        arms=("standard", "all-keys"),
        qualities=(50,),
    )
    assert own.psnr_db == alone.psnr_db
    assert own.bits_per_pixel <= alone.bits_per_pixel
    with pytest.raises(InvalidSettings, match="no motion"):
        run_predictor(
            suite=str(folder),
            training=str(folder),
            table=tmp_path / "predictor.tsv",
            model="teconerv-tiny",
            arms=("mean-motion",),
        )
