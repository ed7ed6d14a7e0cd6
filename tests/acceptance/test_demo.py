"""`make demo`: a whole service that comes, works and goes."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
import psutil
import pytest

from hypernet.decoding import open_stream
from hypernet.preset_names import DEFAULT_PRESET
from tests.acceptance.program import environment
from tests.acceptance.test_interrupt import read_until
from tests.clips import Sound, make_clip
from tests.unit.encoder_service.cli.bad_videos import cut_short

DEMO = (sys.executable, "-m", "encoder_service.demo")


@pytest.fixture
def spool() -> Iterator[Path]:
    """Where temporary files go; its name is short, as those of sockets must be."""
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        yield Path(folder)


def test_a_damaged_clip_goes_through_the_service_and_back(tmp_path: Path, spool: Path) -> None:
    clip, folder = cut_short(tmp_path), tmp_path / "demo"
    done = subprocess.run(
        [*DEMO, "--video", str(clip), "--folder", str(folder), "--budget", "1"],
        capture_output=True,
        text=True,
        check=False,
        env=environment(TMPDIR=str(spool), COLUMNS="200"),
    )
    assert done.returncode == 0, done.stderr
    for word in (DEFAULT_PRESET, "x264 veryfast", "warning: ", "side-by-side.png"):
        assert word in done.stdout
    with open_stream(folder / "clip.nrv") as stream:
        assert f"{stream.header.num_frames} frames of" in done.stdout
        width, height = stream.header.width, stream.header.height
    with av.open(str(folder / "side-by-side.png")) as picture:
        frame = next(picture.decode(video=0))
    assert (frame.width, frame.height) == (2 * width, height)
    assert (folder / "decoded.mp4").exists()
    assert list(spool.glob("nrv-*")) == []


def test_an_interrupted_demo_leaves_nothing(tmp_path: Path, spool: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", num_frames=8, size=(64, 48), audio=[Sound()])
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*DEMO, "--video", str(clip), "--folder", str(tmp_path / "demo"), "--budget", "600"],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=environment(TMPDIR=str(spool), TERM="xterm", COLUMNS="200"),
    ) as process:
        os.close(theirs)
        read_until(ours, b"encode")
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        rest = read_until(ours, None)
        assert process.wait(timeout=60) == 130
    os.close(ours)
    assert b"Traceback" not in rest
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []
    assert list(spool.glob("nrv-*")) == []


def test_what_is_no_video_is_said(tmp_path: Path) -> None:
    done = subprocess.run(
        [*DEMO, "--video", str(tmp_path / "missing.mp4"), "--folder", str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 1
    assert "cannot read" in done.stderr
    assert "Traceback" not in done.stderr
