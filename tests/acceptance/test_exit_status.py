"""What the program leaves with, as a shell sees it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.program import QUICK, nrv
from tests.clips import make_clip
from tests.golden.golden import FOLDER
from tests.unit.encoder_service.cli import bad_videos


@pytest.mark.parametrize(
    "make", [bad_videos.missing, bad_videos.empty, bad_videos.audio_only, bad_videos.enormous]
)
def test_input_that_cannot_be_read(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    output = tmp_path / "out.nrv"
    finished = nrv("encode", make(tmp_path), "-o", output, *QUICK, "--json", status=3)
    complained(finished.stdout, finished.stderr, bad_videos.UNREADABLE[make])
    assert not output.exists()


def test_a_damaged_stream(tmp_path: Path) -> None:
    data = bytearray((FOLDER / "codec-debug.nrv").read_bytes())
    data[-9] ^= 1
    (tmp_path / "damaged.nrv").write_bytes(data)
    finished = nrv("decode", tmp_path / "damaged.nrv", "-o", tmp_path / "out.mp4", status=3)
    complained(finished.stdout, finished.stderr, "damaged")
    assert not (tmp_path / "out.mp4").exists()


def test_a_preset_that_does_not_exist(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", num_frames=2)
    finished = nrv("encode", clip, "-o", tmp_path / "out.nrv", "--preset", "best", status=2)
    complained(finished.stdout, finished.stderr, "choose one of debug, ")


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", num_frames=2)
    finished = nrv("encode", clip, "-o", tmp_path / "no" / "out.nrv", *QUICK, status=5)
    complained(finished.stdout, finished.stderr, "cannot write")


def test_help() -> None:
    assert "encode" in nrv("--help").stdout


def complained(out: str, err: str, words: str) -> None:
    """One line on stderr, nothing on stdout."""
    assert out == ""
    assert err.startswith("nrv: ")
    assert err.count("\n") == 1
    assert words in err
