from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hypernet.errors import EncodeFailed, OutputNotWritable
from hypernet.evaluation.anchors import (
    ANCHORS,
    SVT_AV1,
    X264_MEDIUM,
    X264_VERYFAST,
    X265_MEDIUM,
    Anchor,
)
from hypernet.evaluation.codecs import read_rgb
from hypernet.evaluation.encoders import LOSSLESS_RGB, write_video
from hypernet.evaluation.metrics import compare_videos
from tests.clips import moving

_RATE = Fraction(30000, 1001)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "source.mkv"
    write_video(moving(9, (96, 64)), path, _RATE, LOSSLESS_RGB)
    return path


def _encoded(anchor: Anchor, source: Path, output: Path, quality: int) -> tuple[int, float]:
    stats = anchor.encode(source, output, quality)
    comparison = compare_videos(
        read_rgb(source), anchor.decode(output), ms_ssim_every=0, with_vmaf=False
    )
    assert comparison.frames == 9
    assert stats.stream_bytes == output.stat().st_size
    assert stats.encode_seconds > 0
    return stats.stream_bytes, comparison.psnr_db


@pytest.mark.parametrize("anchor", ANCHORS, ids=lambda anchor: anchor.name)
def test_a_higher_crf_costs_fewer_bytes_and_quality(
    anchor: Anchor, source: Path, tmp_path: Path
) -> None:
    best, worst = anchor.qualities[0], anchor.qualities[-1]

    best_bytes, best_db = _encoded(anchor, source, tmp_path / "best.mp4", best)
    worst_bytes, worst_db = _encoded(anchor, source, tmp_path / "worst.mp4", worst)

    assert best_bytes > worst_bytes
    assert best_db > worst_db + 3
    assert best_db > 26


@pytest.mark.parametrize("anchor", [X265_MEDIUM, SVT_AV1], ids=lambda anchor: anchor.name)
def test_the_same_encoding_gives_the_same_bytes(
    anchor: Anchor, source: Path, tmp_path: Path
) -> None:
    outputs = [tmp_path / f"{number}.mp4" for number in range(2)]
    for output in outputs:
        anchor.encode(source, output, 40)

    assert outputs[0].read_bytes() == outputs[1].read_bytes()


@pytest.mark.parametrize("anchor", ANCHORS, ids=lambda anchor: anchor.name)
def test_encoders_write_nothing_to_the_terminal(
    anchor: Anchor, source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    anchor.encode(source, tmp_path / "out.mp4", 40)

    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="Linux only")
def test_the_caller_is_not_left_in_real_time_scheduling(source: Path, tmp_path: Path) -> None:
    before = os.sched_getscheduler(0)
    SVT_AV1.encode(source, tmp_path / "out.mp4", 40)
    assert os.sched_getscheduler(0) == before


def test_a_slower_preset_is_another_encoder(source: Path, tmp_path: Path) -> None:
    fast = _encoded(X264_VERYFAST, source, tmp_path / "fast.mp4", 28)
    slow = _encoded(X264_MEDIUM, source, tmp_path / "slow.mp4", 28)

    assert fast != slow


def test_lossless_video_keeps_every_value_and_the_frame_rate(tmp_path: Path) -> None:
    noise = list(np.random.default_rng(0).integers(0, 256, (3, 30, 34, 3), dtype=np.uint8))

    written = write_video(noise, tmp_path / "noise.mkv", _RATE, LOSSLESS_RGB)

    assert written == 3
    assert np.array_equal(list(read_rgb(tmp_path / "noise.mkv")), noise)


def test_what_cannot_be_encoded_or_written_is_said(tmp_path: Path) -> None:
    settings = X264_MEDIUM.at(28)

    with pytest.raises(EncodeFailed, match="no frames"):
        write_video([], tmp_path / "empty.mp4", _RATE, settings)
    with pytest.raises(EncodeFailed, match="libx264"):
        write_video(moving(2, (33, 31)), tmp_path / "odd.mp4", _RATE, settings)
    with pytest.raises(OutputNotWritable, match="missing"):
        write_video(moving(2), tmp_path / "missing" / "out.mp4", _RATE, settings)
