from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hypernet.errors import EncodeFailed, InvalidSettings
from hypernet.evaluation.anchors import X264_VERYFAST
from hypernet.evaluation.benchmark import BenchmarkResult, Progress, run_rd
from hypernet.evaluation.codecs import EncodeStats, VideoCodec, read_rgb, stats_since
from hypernet.evaluation.metrics import Frame
from hypernet.evaluation.table import read_rows
from tests.clips import make_clip


class RoundingCodec:
    """Keeps every value's upper bits and writes the frames with numpy; quality is that number."""

    suffix = ".npy"
    threads = 1

    def __init__(self, name: str = "rounding", qualities: tuple[int, ...] = (2, 4, 8)) -> None:
        self.name, self.qualities = name, qualities
        self.encoded: list[int] = []
        self.frames_lost = 0

    def encode(self, source: Path, output: Path, quality: int) -> EncodeStats:
        if quality == 0:
            raise EncodeFailed("no bits to keep")
        frames = np.stack([frame >> (8 - quality) << (8 - quality) for frame in read_rgb(source)])
        np.save(output, frames)
        self.encoded.append(quality)
        return stats_since(0.0, output)

    def decode(self, path: Path) -> Iterator[Frame]:
        frames = np.load(path)
        return iter(frames[: len(frames) - self.frames_lost])


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    make_clip(folder / "long.mp4", num_frames=9, size=(48, 40))
    make_clip(folder / "odd.mkv", num_frames=3, size=(49, 41), pix_fmt="yuv444p")
    return folder


def _run(suite: Path, table: Path, *codecs: VideoCodec, **options: object) -> BenchmarkResult:
    arguments = {"max_frames": 5, "ms_ssim_every": 2} | options
    return run_rd(suite=str(suite), codecs=codecs, table=table, **arguments)  # type: ignore[arg-type]


def test_every_codec_is_measured_at_every_quality_on_every_clip(
    suite: Path, tmp_path: Path
) -> None:
    result = _run(suite, tmp_path / "rd.tsv", RoundingCodec(), X264_VERYFAST)

    rows = {row.key: row for row in result.rows}
    assert len(rows) == 2 * (3 + len(X264_VERYFAST.qualities))
    assert read_rows(tmp_path / "rd.tsv")[0].key == result.rows[0].key
    assert not result.failures
    row = rows["odd.mkv", "rounding", 4]
    assert (row.frames, row.width, row.height) == (3, 48, 40)
    assert row.bytes == 128 + 3 * 48 * 40 * 3
    assert row.bits_per_pixel == pytest.approx(row.bytes * 8 / (3 * 48 * 40))
    assert rows["long.mp4", "rounding", 2].frames == 5
    assert rows["long.mp4", "rounding", 2].psnr_db < rows["long.mp4", "rounding", 4].psnr_db
    assert rows["long.mp4", "rounding", 8].psnr_db == np.inf


def test_a_second_run_measures_only_what_is_missing(suite: Path, tmp_path: Path) -> None:
    table, codec = tmp_path / "rd.tsv", RoundingCodec(qualities=(2, 4))
    first = _run(suite, table, codec)
    table.write_bytes(table.read_bytes()[:-9])
    codec.encoded.clear()
    reported: list[Progress] = []

    second = _run(suite, table, codec, on_progress=reported.append)

    assert codec.encoded == [4]
    assert [row.key for row in second.rows] == [row.key for row in first.rows]
    assert [progress.done for progress in reported] == [1, 2, 3, 4]
    assert all(progress.total == 4 and progress.row for progress in reported)


def test_a_codec_that_fails_is_reported_and_does_not_stop_the_others(
    suite: Path, tmp_path: Path
) -> None:
    short = RoundingCodec("short", (4,))
    short.frames_lost = 1

    result = _run(suite, tmp_path / "rd.tsv", RoundingCodec(qualities=(0, 4)), short)

    reasons = {(failure.codec, failure.quality): failure.failure for failure in result.failures}
    assert reasons["rounding", 0] == "no bits to keep"
    assert "ends after" in (reasons["short", 4] or "")
    assert {row.key[1:] for row in result.rows} == {("rounding", 4)}


def test_a_clip_that_cannot_be_read_is_reported_and_the_others_are_measured(
    suite: Path, tmp_path: Path
) -> None:
    (suite / "broken.mp4").write_bytes(b"not a video at all")

    result = _run(suite, tmp_path / "rd.tsv", RoundingCodec(qualities=(4,)))

    assert [failure.clip for failure in result.failures] == ["broken.mp4"]
    assert {row.clip for row in result.rows} == {"long.mp4", "odd.mkv"}


@pytest.mark.parametrize(("before", "after"), [(5, 3), (3, 5)])
def test_another_number_of_frames_is_not_mixed_in(
    suite: Path, tmp_path: Path, before: int, after: int
) -> None:
    table = tmp_path / "rd.tsv"
    _run(suite, table, RoundingCodec(qualities=(2,)), max_frames=before)

    with pytest.raises(InvalidSettings, match=r"holds \d frames of long\.mp4"):
        _run(suite, table, RoundingCodec(qualities=(2, 4)), max_frames=after)


def test_codecs_need_names_of_their_own(suite: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="same name"):
        _run(suite, tmp_path / "rd.tsv", RoundingCodec(), RoundingCodec())


def test_our_presets_are_measured_like_the_others(suite: Path, tmp_path: Path) -> None:
    from hypernet.evaluation.presets import PresetCodec

    codec = PresetCodec(preset="debug", qualities=(50,), steps=3)

    result = _run(suite, tmp_path / "rd.tsv", codec, clips=["long"])

    assert codec.name == "debug@3steps"
    assert [row.key for row in result.rows] == [("long.mp4", "debug@3steps", 50)]
    assert result.rows[0].frames == 5
    assert 5 < result.rows[0].psnr_db < 50
