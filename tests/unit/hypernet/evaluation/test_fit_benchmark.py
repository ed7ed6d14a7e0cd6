from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from hypernet.errors import InvalidSettings
from hypernet.evaluation.fit_benchmark import METHODS, FitRow, order0_bits, packed, run_fit
from tests.clips import make_clip


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    make_clip(folder / "clip.mp4", num_frames=4)
    return folder


def test_every_method_is_measured_on_the_same_network(suite: Path, tmp_path: Path) -> None:
    seen: list[FitRow] = []
    table = tmp_path / "fit.tsv"
    rows = run_fit(suite=str(suite), table=table, qualities=[30], steps=4, on_row=seen.append)
    assert rows == seen
    assert [row.method for row in rows] == list(METHODS)
    assert {(row.steps, row.frames, row.weights) for row in rows} == {(4, 4, rows[0].weights)}
    with table.open(newline="") as file:
        written = list(csv.DictReader(file, delimiter="\t"))
    assert [line["bytes"] for line in written] == [str(row.bytes) for row in rows]
    by_method = {row.method: row for row in rows}
    assert by_method["then-8-bit"].bytes > by_method["rate-aware"].bytes
    assert by_method["float32"].psnr_db == pytest.approx(by_method["rate-aware"].psnr_db, abs=0.5)


def test_an_unknown_method_lists_those_that_exist(suite: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="rate-aware, then-8-bit, float32"):
        run_fit(suite=str(suite), table=tmp_path / "fit.tsv", methods=["float16"])
    assert list(tmp_path.iterdir()) == []


def test_a_preset_of_several_clips_is_sent_elsewhere(suite: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="profile laptop"):
        run_fit(suite=str(suite), table=tmp_path / "fit.tsv", presets=["nirvana"])


def test_integers_are_packed_as_narrow_as_they_fit() -> None:
    small, large = np.array([-128, 127], np.int32), np.array([[300], [-2]], np.int32)
    assert packed({"a": small}) == b"\x80\x7f"
    assert packed({"a": small, "b": large}) == np.array([-128, 127, 300, -2], "<i2").tobytes()


def test_order0_entropy_is_summed_over_tensors() -> None:
    even, constant = np.array([0, 1, 2, 3], np.int32), np.zeros(9, np.int32)
    assert order0_bits({"even": even, "constant": constant}) == pytest.approx(8)
