from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from hypernet.errors import InvalidSettings
from hypernet.evaluation import provenance
from hypernet.evaluation.family_benchmark import (
    FamilyRow,
    compare_with,
    make_arms,
    margin_over_floor,
    mean_frame_psnr_db,
    run_family,
    training_tflop,
)
from hypernet.training.config import load_config
from tests.unit.hypernet.training.samples import (
    DEBUG_NERV_ENC,
    DEBUG_TECONERV,
    make_config,
    make_sources,
    write_video,
)

ROW = FamilyRow(
    arm="nerv-enc",
    learning_rate=1e-3,
    training_tflop=1.5,
    training_tubelets=100,
    clip="a.mp4",
    quality=50,
    frames=8,
    psnr_db=24.0,
    bits_per_pixel=0.05,
    floor_psnr_db=20.0,
    commit="c",
    cpu="x",
    threads=1,
)


def _curve(arm: str, rate: float, above_db: float) -> list[FamilyRow]:
    return [
        replace(
            ROW,
            arm=arm,
            learning_rate=rate,
            quality=quality,
            psnr_db=20 + quality / 20 + above_db,
            bits_per_pixel=0.01 * 2 ** (quality / 20),
        )
        for quality in (20, 40, 60, 80)
    ]


def test_arms_are_compared_at_their_best_learning_rate() -> None:
    rows = [
        *_curve("nerv-enc", 1e-3, 0.0),
        *_curve("nerv-enc", 2e-3, -1.0),
        *_curve("teconerv", 1e-3, -3.0),
        *_curve("teconerv", 2e-3, 2.0),
    ]
    compared = compare_with(rows, "nerv-enc")
    assert compared["nerv-enc"] == pytest.approx(0)
    assert compared["teconerv"] == pytest.approx(2.0, abs=0.01)
    assert math.isnan(compare_with(rows, "absent")["teconerv"])
    assert margin_over_floor(rows, "nerv-enc") == pytest.approx(4.0)


def test_arms_can_be_shorter_than_their_configurations(tmp_path: Path) -> None:
    arms = make_arms([DEBUG_TECONERV], (1e-3, 2e-3), ("shipped",), tmp_path, steps=7)
    schedules = [arm.config.schedule for arm in arms if arm.config]
    assert [(s.steps, s.learning_rate) for s in schedules] == [(7, 1e-3), (7, 2e-3)]
    assert arms[-1].name == "shipped"


def test_operations_of_a_run_grow_with_its_length_and_its_pairs() -> None:
    config = load_config(DEBUG_TECONERV)
    longer = replace(config, schedule=replace(config.schedule, steps=40))
    wider = replace(config, data=replace(config.data, pairs=3))
    assert training_tflop(longer) == pytest.approx(2 * training_tflop(config))
    assert training_tflop(wider) == pytest.approx(3 * training_tflop(config))


def test_the_mean_frame_of_a_still_clip_is_nearly_the_clip(tmp_path: Path) -> None:
    write_video(tmp_path / "moving.mp4", 16, (64, 64))
    write_video(tmp_path / "one.mp4", 1, (64, 64))
    assert mean_frame_psnr_db(tmp_path / "moving.mp4") < 25
    assert mean_frame_psnr_db(tmp_path / "one.mp4") > 90


@pytest.fixture(name="configs", scope="module")
def _configs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("family")
    sources = make_sources(folder)
    (folder / "val").mkdir()
    write_video(folder / "val" / "val_one.mp4", 9, (70, 50), 5)
    return [
        make_config(folder, sources, shipped.stem, shipped, steps="2", warmup_steps="1")
        for shipped in (DEBUG_NERV_ENC, DEBUG_TECONERV)
    ]


def test_arms_are_trained_scored_and_never_measured_twice(
    configs: list[Path], tmp_path: Path
) -> None:
    arms = make_arms(configs, (1e-3,), (), tmp_path / "runs")
    table, suite = tmp_path / "family.tsv", str(configs[0].parent / "val")
    rows = run_family(arms, suite=suite, table=table, qualities=(20, 80))
    assert [(row.arm, row.quality) for row in rows] == [
        ("debug-nerv-enc", 20),
        ("debug-nerv-enc", 80),
        ("debug-teconerv", 20),
        ("debug-teconerv", 80),
    ]
    assert all(row.bits_per_pixel > 0 and row.training_tubelets == 2 for row in rows)
    again: list[FamilyRow] = []
    more = run_family(arms, suite=suite, table=table, qualities=(20, 80, 90), on_row=again.append)
    assert [row.quality for row in again] == [90, 90]
    assert more[:4] == rows


def test_rows_of_two_commits_are_not_mixed(
    configs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = make_arms(configs[:1], (), (), tmp_path / "runs")
    table, suite = tmp_path / "family.tsv", str(configs[0].parent / "val")
    run_family(arms, suite=suite, table=table, qualities=(50,))
    monkeypatch.setattr(provenance, "commit", lambda: "another")
    with pytest.raises(InvalidSettings, match="not mixed"):
        run_family(arms, suite=suite, table=table, qualities=(50,))


def test_a_file_that_is_no_such_table(tmp_path: Path) -> None:
    table = tmp_path / "family.tsv"
    table.write_text("name\n1\n")
    with pytest.raises(InvalidSettings, match="not such a table"):
        run_family([], suite="val", table=table)
