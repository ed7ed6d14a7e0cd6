from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from hypernet.errors import InvalidSettings, OutputNotWritable
from hypernet.evaluation.table import COLUMNS, Row, Table, read_rows, write_tsv

ROW = Row(
    clip="a clip.mp4",
    codec="x264",
    quality=28,
    bytes=1000,
    bits_per_pixel=0.125,
    psnr_db=31.25,
    psnr_y_db=math.inf,
    ms_ssim=None,
    encode_seconds=1.5,
    decode_frames_per_second=99.5,
    frames=8,
    width=64,
    height=48,
    commit="abc",
    cpu="Some CPU @ 2 GHz",
    threads=2,
    load_average=None,
    device="cpu",
)


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rd.tsv"
    table = Table(path, "abc")
    other = dataclasses.replace(ROW, codec="x265", ms_ssim=0.9875, load_average=1.25)
    table.append(ROW)
    table.append(other)

    assert path.read_text().splitlines()[0].split("\t") == list(COLUMNS)
    assert read_rows(path) == [ROW, other]
    assert Table(path, "abc").rows == [ROW, other]


def test_every_row_is_on_disk_when_append_returns(tmp_path: Path) -> None:
    table = Table(tmp_path / "rd.tsv", "abc")
    table.append(ROW)

    assert read_rows(table.path) == [ROW]


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_half_written_last_line_is_dropped(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "rd.tsv"
    table = Table(path, "abc")
    table.append(ROW)
    table.append(dataclasses.replace(ROW, quality=33))
    path.write_bytes(path.read_bytes()[:-cut])

    resumed = Table(path, "abc")
    resumed.append(dataclasses.replace(ROW, quality=38))

    assert [row.quality for row in read_rows(path)] == [28, 38]


def test_a_half_written_header_starts_the_table_over(tmp_path: Path) -> None:
    path = tmp_path / "rd.tsv"
    path.write_text("clip\tcod")

    Table(path, "abc").append(ROW)

    assert read_rows(path) == [ROW]


def test_rows_of_another_commit_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "rd.tsv"
    Table(path, "abc").append(ROW)

    with pytest.raises(InvalidSettings, match=r"abc and this is def.*--out.*--fresh"):
        Table(path, "def")

    assert Table(path, "def", fresh=True).rows == []


def test_a_table_without_devices_can_still_be_read(tmp_path: Path) -> None:
    path = tmp_path / "rd.tsv"
    Table(path, "abc").append(ROW)
    lines = path.read_text().splitlines()
    path.write_text("".join(line.rpartition("\t")[0] + "\n" for line in lines))

    assert read_rows(path) == [dataclasses.replace(ROW, device=None)]
    with pytest.raises(InvalidSettings, match="abc and this is def"):
        Table(path, "def")


def test_other_files_and_damaged_lines_are_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes\nhave no end")
    with pytest.raises(InvalidSettings, match="not a table"):
        Table(path, "abc")
    assert path.read_text() == "my notes\nhave no end"

    Table(path, "abc", fresh=True).append(ROW)
    path.write_text(path.read_text().replace("1000", "many"))
    with pytest.raises(InvalidSettings, match="line 2 is damaged"):
        Table(path, "abc")


def test_what_cannot_be_read_or_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="cannot be read"):
        read_rows(tmp_path / "missing.tsv")
    with pytest.raises(OutputNotWritable):
        Table(tmp_path, "abc")
    (tmp_path / "file").touch()
    with pytest.raises(OutputNotWritable):
        write_tsv(tmp_path / "file" / "a.tsv", ["a"], [])


def test_tabs_in_names_do_not_break_the_table(tmp_path: Path) -> None:
    table = Table(tmp_path / "rd.tsv", "abc")
    table.append(dataclasses.replace(ROW, cpu="two\tparts\n"))

    assert read_rows(table.path)[0].cpu == "two parts "


def test_derived_tables_leave_unknown_cells_empty(tmp_path: Path) -> None:
    write_tsv(tmp_path / "a.tsv", ["name", "value"], [("x", None), ("y", 1.5)])

    assert (tmp_path / "a.tsv").read_text() == "name\tvalue\nx\t\ny\t1.5\n"
