from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import av
import numpy as np
import pytest

from hypernet.errors import InvalidSettings, OutputNotWritable
from hypernet.evaluation.plots import mean_curves, plot_rd
from hypernet.evaluation.report import markdown, write_report
from hypernet.evaluation.summary import MEAN, bd_rows, equal_psnr_rows, rates_at, roles_of
from hypernet.evaluation.table import Row
from tests.unit.hypernet.evaluation.test_table import ROW

_QUALITIES = {20: 26.0, 40: 29.0, 60: 32.0, 80: 36.0}


def _curve(clip: str, codec: str, scale: float, shift_db: float = 0.0) -> list[Row]:
    """Six decibels per doubling of the rate, 0.1 bits per pixel at 30 dB times ``scale``."""
    return [
        dataclasses.replace(
            ROW,
            clip=clip,
            codec=codec,
            quality=quality,
            bits_per_pixel=scale * 0.1 * 2 ** ((psnr_db + shift_db - 30) / 6),
            psnr_db=psnr_db + shift_db,
        )
        for quality, psnr_db in _QUALITIES.items()
    ]


@pytest.fixture
def rows() -> list[Row]:
    """Ours needs 0.8 and 1.25 times the bytes of the anchor, and is out of its range on a third."""
    return [
        *_curve("one.mp4", "x264-veryfast", 1.0),
        *_curve("one.mp4", "ours", 0.8),
        *_curve("one.mp4", "downscaled", 9.0),
        *_curve("two.mp4", "x264-veryfast", 2.0),
        *_curve("two.mp4", "ours", 2.5),
        *_curve("three.mp4", "x264-veryfast", 1.0),
        *_curve("three.mp4", "ours", 1.0, shift_db=-20),
    ]


def test_codecs_are_told_apart_by_what_they_are_there_for(rows: list[Row]) -> None:
    roles = roles_of(rows)

    assert roles.tests == ("ours",)
    assert roles.anchors == ("x264-veryfast",)
    assert roles.floors == ("downscaled",)


def test_bd_rate_is_taken_per_clip_then_averaged_over_those_that_compare(rows: list[Row]) -> None:
    by_clip = {row.clip: row for row in bd_rows(rows)}

    assert by_clip["one.mp4"].bd_rate_percent == pytest.approx(-20)
    assert by_clip["two.mp4"].bd_rate_percent == pytest.approx(25)
    assert by_clip["three.mp4"].bd_rate_percent is None
    assert "share 0%" in by_clip["three.mp4"].reason
    assert by_clip[MEAN].bd_rate_percent == pytest.approx(2.5)
    assert by_clip[MEAN].rate_clips == 2
    assert by_clip[MEAN].reason == "1 of 3 clips do not compare in rate"


def test_ours_are_also_compared_with_each_other(rows: list[Row]) -> None:
    other = _curve("one.mp4", "other", 0.6)
    found = {(row.codec, row.anchor): row for row in bd_rows([*rows, *other]) if row.clip == MEAN}

    assert set(found) == {
        ("ours", "x264-veryfast"),
        ("other", "x264-veryfast"),
        ("other", "ours"),
    }
    assert found["other", "ours"].bd_rate_percent == pytest.approx(-25)
    lines = markdown([*rows, *other]).splitlines()
    assert "| codec | x264-veryfast |" in lines
    assert "| other | -40.0 % (1) |" in lines


def test_bytes_at_equal_psnr_are_a_geometric_mean_of_ratios(rows: list[Row]) -> None:
    at = {row.psnr_db: row for row in equal_psnr_rows(rows, [30.0, 50.0])}

    assert at[30.0].ratio == pytest.approx(1.0)
    assert at[30.0].bits_per_pixel == pytest.approx((0.08 + 0.25) / 2)
    assert at[30.0].anchor_bits_per_pixel == pytest.approx((0.1 + 0.2) / 2)
    assert at[30.0].clips == 2
    assert (at[50.0].ratio, at[50.0].clips) == (None, 0)


def test_rates_at_a_psnr_count_the_clips_that_reach_it(rows: list[Row]) -> None:
    (at_30, clips), (at_50, none) = rates_at(rows, "x264-veryfast", [30.0, 50.0])

    assert at_30 == pytest.approx(0.4 / 3)
    assert (clips, at_50, none) == (3, None, 0)


def test_markdown_names_how_many_clips_are_behind_a_number(rows: list[Row]) -> None:
    text = markdown(rows, [30.0])

    assert "| ours | 0.1650 (2) |" in text
    assert "| x264-veryfast | 0.1333 |" in text
    assert "| ours | +2.5 % (2) |" in text
    assert "| ours | 30 dB | 1.00x (2) |" in text


def test_a_table_of_anchors_alone_has_no_comparison(rows: list[Row]) -> None:
    text = markdown([row for row in rows if row.codec == "x264-veryfast"])

    assert "x264-veryfast" in text
    assert "BD-rate" not in text


def test_the_mean_curve_leaves_out_qualities_that_some_clips_lack(rows: list[Row]) -> None:
    partial = [row for row in rows if row.key != ("two.mp4", "x264-veryfast", 80)]

    anchor = mean_curves(partial)["x264-veryfast"]

    assert [point.psnr_db for point in anchor] == [26.0, 29.0, 32.0]
    assert anchor[0].rate == pytest.approx(4 / 3 * 0.1 * 2 ** (-4 / 6))
    assert "downscaled" not in mean_curves(partial)


def test_a_report_is_a_plot_two_tables_and_a_text(rows: list[Row], tmp_path: Path) -> None:
    lossless = dataclasses.replace(ROW, clip="one.mp4", codec="ours", psnr_db=math.inf)

    plot, bd, equal, text = write_report([*rows, lossless], tmp_path, name="rd")

    with av.open(str(plot)) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100
    assert bd.read_text().splitlines()[1].split("\t")[:4] == [
        "ours", "x264-veryfast", "one.mp4", "-20",
    ]  # fmt: skip
    assert len(equal.read_text().splitlines()) == 4
    assert text.read_text() == markdown([*rows, lossless])


def test_what_cannot_be_plotted_or_written_is_said(rows: list[Row], tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="no measurements"):
        plot_rd([], tmp_path / "rd.png")
    with pytest.raises(OutputNotWritable):
        plot_rd(rows, tmp_path / "missing" / "rd.png")
