"""No space left while an output is written."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.program import QUICK, nrv
from tests.clips import Sound, make_clip

CAPACITY = 64 << 10


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its sound alone is larger than the disk."""
    path = tmp_path_factory.mktemp("clip") / "clip.mov"
    return make_clip(path, num_frames=4, audio=[Sound(codec="pcm_s16le", seconds=1.5)])


@pytest.fixture(scope="module")
def stream(clip: Path) -> Path:
    nrv("encode", clip, "-o", clip.with_suffix(".nrv"), *QUICK)
    return clip.with_suffix(".nrv")


@pytest.fixture(params=["limit", "disk"])
def small_disk(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Path, Callable[[], None] | None]]:
    """A folder with little space; what must be called in a process for that to hold."""
    if request.param == "limit":
        yield tmp_path, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (CAPACITY, CAPACITY))
        return
    mount = ["mount", "-t", "tmpfs", "-o", f"size={CAPACITY}", "tmpfs", str(tmp_path)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield tmp_path, None
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_encoding(clip: Path, small_disk: tuple[Path, Callable[[], None] | None]) -> None:
    folder, before = small_disk
    output = folder / "out.nrv"
    output.write_bytes(b"what was here before")
    finished = nrv("encode", clip, "-o", output, *QUICK, "--json", status=5, before=before)
    assert finished.stdout == ""
    assert finished.stderr.startswith(f"nrv: cannot write {output}: ")
    assert finished.stderr.count("\n") == 1
    assert output.read_bytes() == b"what was here before"
    assert list(folder.iterdir()) == [output]


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4"])
def test_decoding(
    stream: Path, small_disk: tuple[Path, Callable[[], None] | None], name: str
) -> None:
    folder, before = small_disk
    output = folder / name
    output.write_bytes(b"what was here before")
    finished = nrv("decode", stream, "-o", output, status=5, before=before)
    assert finished.stderr.startswith(f"nrv: cannot write {output}: ")
    assert finished.stderr.count("\n") == 1
    assert output.read_bytes() == b"what was here before"
    assert list(folder.iterdir()) == [output]
