from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from hypernet.bitstream.output import atomic_output
from hypernet.errors import OutputNotWritable


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def write_then_raise(target: Path | str, data: bytes, error: BaseException) -> None:
    with atomic_output(target) as file:
        file.write(data)
        raise error


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "out.nrv"
    with atomic_output(target) as file:
        file.write(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["out.nrv"]


def test_a_new_file_has_ordinary_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with atomic_output(tmp_path / "out.nrv"):
        pass
    assert (tmp_path / "out.nrv").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_or_interrupt_leaves_the_old_file(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "out.nrv"
    target.write_bytes(b"old")
    with pytest.raises(error):
        write_then_raise(target, b"new", error())
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["out.nrv"]


def test_a_full_disk_is_named_and_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "out.nrv"
    target.write_bytes(b"old")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OutputNotWritable, match=r"out\.nrv: No space left"):
        write_then_raise(target, b"new", full)
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["out.nrv"]


def test_a_device_is_written_directly() -> None:
    with (
        pytest.raises(OutputNotWritable, match="/dev/full: No space left"),
        atomic_output("/dev/full") as file,
    ):
        file.write(bytes(1 << 20))
    with atomic_output("/dev/null") as file:
        file.write(b"gone")
    assert Path("/dev/null").is_char_device()


def test_a_link_keeps_pointing_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with atomic_output(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["missing/out.nrv", "."])
def test_places_that_cannot_be_written_are_named(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(OutputNotWritable, match=r"cannot write .*: (No such|is a folder)"),
        atomic_output(tmp_path / name),
    ):
        pytest.fail("the block must not run")


def test_a_read_only_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.nrv"
    target.write_bytes(b"old")
    # Root may write everything, so the system's answer is replaced, not the file's mode.
    monkeypatch.setattr(os, "access", lambda _, mode: mode != os.W_OK)
    with pytest.raises(OutputNotWritable, match="read-only"), atomic_output(target):
        pytest.fail("the block must not run")
    assert target.read_bytes() == b"old"


def test_a_failure_to_read_an_input_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_output(tmp_path / "out.nrv"):
        (tmp_path / "input").read_bytes()
    assert names(tmp_path) == []
