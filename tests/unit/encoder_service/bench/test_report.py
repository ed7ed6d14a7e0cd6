from __future__ import annotations

from pathlib import Path

import pytest

from encoder_service.bench.report import COLUMNS, Figure, Report, percentile


def figure(measurement: str, value: float) -> Figure:
    return Figure(measurement=measurement, name="p99", value=value, unit="ms", wanted="< 150")


def cells(path: Path) -> list[dict[str, str]]:
    header, *lines = [line.split("\t") for line in path.read_text().splitlines()]
    return [dict(zip(header, line, strict=True)) for line in lines]


def test_a_figure_says_where_it_comes_from(tmp_path: Path) -> None:
    Report(tmp_path / "service.tsv").replace([figure("submit", 123.456)], 1.234)
    (row,) = cells(tmp_path / "service.tsv")
    assert tuple(row) == COLUMNS
    assert (row["value"], row["wanted"], row["load_average"]) == ("123.5", "< 150", "1.23")
    assert row["commit"]
    assert row["cpu"]


def test_a_measurement_taken_again_replaces_the_old_one_only(tmp_path: Path) -> None:
    path = tmp_path / "service.tsv"
    Report(path).replace([figure("submit", 1), figure("read", 2)], None)
    Report(path).replace([figure("submit", 3)], None)
    found = {(row["measurement"], row["value"]) for row in cells(path)}
    assert found == {("submit", "3"), ("read", "2")}


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_percentiles(share: float, value: float) -> None:
    assert percentile(range(1, 101), share) == value
    assert percentile([7.0], share) == 7.0
