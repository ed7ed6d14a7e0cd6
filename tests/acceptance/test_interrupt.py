"""Ctrl-C and SIGTERM in the middle of an encoding."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.program import command, environment
from tests.clips import make_clip, moving


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_encoding_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    frames = [picture for scene in (0, 3) for picture in moving(4, scene=scene)]
    clip = make_clip(tmp_path / "clip.mp4", frames=frames)
    output, spool = tmp_path / "clip.nrv", tmp_path / "spool"
    output.write_bytes(b"what was here before")
    spool.mkdir()
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command("encode", clip, "-o", output, "--preset", "debug", "--steps", 300),
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment(TMPDIR=str(spool), TERM="xterm", COLUMNS="200"),
    ) as process:
        os.close(theirs)
        seen = read_until(ours, b"segment 2/2")
        assert all(word in seen for word in (b" dB", b" bpp", b" left"))
        assert len(list(spool.glob("nrv-*"))) == 1
        process.send_signal(number)
        rest = read_until(ours, None)
        assert process.wait(timeout=60) == 130
        assert process.stdout is not None
        assert process.stdout.read() == b""
    os.close(ours)
    assert b"nrv: interrupted; nothing was written" in rest
    assert b"Traceback" not in rest
    assert output.read_bytes() == b"what was here before"
    assert list(spool.glob("nrv-*")) == []
    assert sorted(tmp_path.iterdir()) == [clip, output, spool]


def read_until(terminal: int, word: bytes | None) -> bytes:
    """What a terminal shows up to a word, or until the program closes it."""
    seen = b""
    while word is None or word not in seen:
        try:
            part = os.read(terminal, 1 << 16)
        except OSError:  # closed at the other end
            part = b""
        if not part:
            assert word is None, seen
            return seen
        seen += part
    return seen
