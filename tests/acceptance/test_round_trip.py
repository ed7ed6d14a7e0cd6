"""A video with sound and uneven timing through ``nrv encode`` and back."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from tests.acceptance.program import QUICK, nrv, nrv_json
from tests.clips import Sound, make_clip, moving

MILLISECONDS = [0, 40, 80, 95, 150, 300, 301, 340, 420, 421, 460, 640]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("round-trip")


@pytest.fixture(scope="module")
def clip(folder: Path) -> Path:
    frames = [picture for scene in (0, 3) for picture in moving(6, (51, 37), scene=scene)]
    return make_clip(
        folder / "clip.mp4",
        frames=frames,
        pix_fmt="yuv444p",
        time_base=Fraction(1, 1000),
        pts=MILLISECONDS,
        audio=[Sound(seconds=0.7), Sound(codec="libopus", seconds=0.5, offset_seconds=0.1)],
    )


@pytest.fixture(scope="module")
def encoded(folder: Path, clip: Path) -> tuple[Path, dict[str, Any]]:
    output = folder / "clip.nrv"
    began = time.monotonic()
    fields = nrv_json("encode", clip, "-o", output, *QUICK)
    assert 0 < fields["encode_seconds"] <= time.monotonic() - began + 0.02  # a clock tick
    return output, fields


def test_sizes_are_those_of_files(clip: Path, encoded: tuple[Path, dict[str, Any]]) -> None:
    output, fields = encoded
    parts = nrv_json("inspect", output)["bytes"]
    assert fields["source_bytes"] == clip.stat().st_size
    assert fields["stream_bytes"] == output.stat().st_size == parts["stream"]
    assert fields["video_bytes"] == parts["stream"] - parts["audio"]
    assert fields["bits_per_pixel"] == pytest.approx(8 * fields["video_bytes"] / (12 * 51 * 37))


def test_quality_is_what_compare_measures(clip: Path, encoded: tuple[Path, dict[str, Any]]) -> None:
    output, fields = encoded
    measured = nrv_json("compare", clip, output)
    assert measured["frames"] == fields["frames"] == 12
    assert measured["psnr_db"] == pytest.approx(fields["psnr_db"], abs=0.01)
    assert measured["psnr_y_db"] == pytest.approx(fields["psnr_y_db"], abs=0.01)


@pytest.mark.parametrize(("suffix", "tolerance"), [(".mp4", 0), (".mkv", Fraction(1, 1000))])
def test_times_and_sound_come_back(
    clip: Path, encoded: tuple[Path, dict[str, Any]], folder: Path, suffix: str, tolerance: Fraction
) -> None:
    """Matroska counts in milliseconds, so the times of sound are rounded there."""
    output = folder / f"decoded{suffix}"
    nrv("decode", encoded[0], "-o", output)
    assert frame_times(output) == frame_times(clip) == [Fraction(t, 1000) for t in MILLISECONDS]
    for track in (0, 1):
        before, after = packets(clip, track), packets(output, track)
        assert [data for data, _ in after] == [data for data, _ in before]
        assert all(abs(a - b) <= tolerance for (_, a), (_, b) in zip(after, before, strict=True))


def frame_times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return [(frame.pts or 0) * (frame.time_base or Fraction(0)) for frame in frames]


def packets(path: Path, track: int) -> list[tuple[bytes, Fraction]]:
    """Bytes and presentation time of each audio packet."""
    with av.open(str(path)) as container:
        return [
            (bytes(packet), (packet.pts or 0) * packet.time_base)
            for packet in container.demux(audio=track)
            if packet.size
        ]
