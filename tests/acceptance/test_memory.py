"""Memory must not grow with the length of a video."""

from __future__ import annotations

import os
import subprocess
from itertools import cycle, islice
from pathlib import Path

from tests.acceptance.program import QUICK, command, environment
from tests.clips import make_clip, moving

FRAME_RATE = 10
# Allocated apart from the heap: what is measured is what is kept, not how the heap is cut up.
LARGE_BLOCKS = str(128 << 10)


def test_a_long_video_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    short, long = (peak_kib(tmp_path, seconds) for seconds in (20, 120))
    assert long <= 1.05 * short


def peak_kib(folder: Path, seconds: int) -> int:
    """The largest resident set of the program while it encodes a clip of that length."""
    there = moving(16, (320, 180))
    clip = make_clip(
        folder / f"{seconds}.mp4",
        frames=list(islice(cycle(there + there[::-1]), FRAME_RATE * seconds)),
        fps=FRAME_RATE,
        codec_options={"preset": "ultrafast", "crf": "30"},
    )
    with subprocess.Popen(
        command("encode", clip, "-o", folder / "clip.nrv", *QUICK),
        stdout=subprocess.DEVNULL,
        env=environment(MALLOC_MMAP_THRESHOLD_=LARGE_BLOCKS),
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss
