from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from hypernet.evaluation.speed_benchmark import SpeedPlan, SpeedRow, run_speed
from tests.clips import make_clip

PLAN = SpeedPlan(clips=("clip",), frames=9, width=64, height=48, rates=(0.01, 0.02), epochs=(1, 2))


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    make_clip(folder / "clip.mkv", num_frames=10)
    return folder


def run(suite: Path, table: Path, plan: SpeedPlan) -> list[SpeedRow]:
    seen: list[SpeedRow] = []
    run_speed(suite=str(suite), table=table, plan=plan, on_row=seen.append)
    return seen


def test_the_best_rate_goes_on_until_it_crosses(suite: Path, tmp_path: Path) -> None:
    slow, fast, longer = run(suite, tmp_path / "speed.tsv", PLAN)
    assert [slow.learning_rate, fast.learning_rate] == [0.01, 0.02]
    best = max(slow, fast, key=lambda row: row.fit_psnr_db)
    assert (longer.learning_rate, longer.epochs) == (best.learning_rate, 2)
    for row in (slow, fast, longer):
        assert row.crossed == (row.fit_psnr_db >= row.predicted_psnr_db)
        assert min(row.predict_seconds, row.forward_seconds) > 0
        assert row.times_file_to_file == pytest.approx(
            row.fit_seconds / row.predict_seconds, rel=0.2, abs=0.2
        )


def test_a_clip_that_was_measured_is_not_measured_again(suite: Path, tmp_path: Path) -> None:
    table, plan = tmp_path / "speed.tsv", replace(PLAN, rates=(0.02,), epochs=(1,))
    assert len(run(suite, table, plan)) == 1
    assert run(suite, table, plan) == []
    with table.open(newline="") as file:
        (line,) = csv.DictReader(file, delimiter="\t")
    assert line["clip"] == "clip.mkv"
