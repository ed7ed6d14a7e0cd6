from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from hypernet.errors import InvalidSettings, OutputNotWritable
from hypernet.evaluation import provenance
from hypernet.evaluation.run_table import RunTable


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    name: str
    value: float | None
    commit: str


def point(name: str) -> Point:
    return Point(name=name, value=None, commit=provenance.commit())


def test_rows_are_on_disk_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "table.tsv"
    RunTable[Point](path, Point).append(point("a"))
    again = RunTable[Point](path, Point)
    again.append(point("b"))
    assert again.holds(name="a")
    assert not again.holds(name="c")
    assert [line.split("\t")[:2] for line in path.read_text().splitlines()] == [
        ["name", "value"],
        ["a", ""],
        ["b", ""],
    ]


def test_a_half_written_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    RunTable[Point](path, Point).append(point("a"))
    path.write_text(path.read_text() + "b\t1.")
    table = RunTable[Point](path, Point)
    assert table.holds(name="a")
    assert not table.holds(name="b")
    assert path.read_text().endswith("\n")


def test_rows_of_two_commits_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    RunTable[Point](path, Point).append(Point(name="a", value=1.0, commit="0123456789"))
    with pytest.raises(InvalidSettings, match="0123456789"):
        RunTable(path, Point)
    assert not RunTable[Point](path, Point, fresh=True).holds(name="a")


def test_another_kind_of_table_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    path.write_text("other\tcolumns\n")
    with pytest.raises(InvalidSettings, match="another kind"):
        RunTable(path, Point)
    assert path.read_text() == "other\tcolumns\n"


def test_a_folder_that_cannot_be_made_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputNotWritable):
        RunTable(tmp_path / "file" / "table.tsv", Point)
