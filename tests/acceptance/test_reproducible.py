"""What must be equal from run to run, and from machine to machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.acceptance.program import environment, nrv
from tests.clips import make_clip
from tests.golden.golden import EXPECTED, FOLDER

PIXEL_BOUND = 1  # of 255
MACHINES = {
    "one thread": {"OMP_NUM_THREADS": "1"},
    "two threads": {"OMP_NUM_THREADS": "2"},
    "without AVX-512": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    "without vectors": {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"},
}
DECODE = """
import sys
import numpy as np
from hypernet.bitstream.segment import decode_segment
from hypernet.decoding import open_stream
from tests.golden.golden import symbols_digest

with open_stream(sys.argv[1]) as stream:
    payload = stream.reader.segment(0)
    print(symbols_digest(decode_segment(payload, stream.segments.specs_of)))
    np.save(sys.argv[2], np.stack([frame.rgb_HWC for frame in stream.frames()]))
"""


def test_equal_settings_give_equal_bytes(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", num_frames=9, size=(50, 35), pix_fmt="yuv444p")
    settings = ("--preset", "debug", "--steps", 12, "--seed", 5, "--device", "cpu")
    for name in ("one", "two"):
        nrv("encode", clip, "-o", tmp_path / name, *settings)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("machine", MACHINES)
def test_every_machine_decodes_the_same(tmp_path: Path, machine: str) -> None:
    decoded = subprocess.run(
        [sys.executable, "-c", DECODE, str(FOLDER / "codec-nerv-s.nrv"), str(tmp_path / "f.npy")],
        check=True,
        capture_output=True,
        text=True,
        cwd=FOLDER.parents[1],
        env=environment(**MACHINES[machine]),
    )
    expected = json.loads(EXPECTED.read_text())["codec-nerv-s"]
    assert decoded.stdout.split() == expected["symbols_sha256"]
    with np.load(FOLDER / "codec-nerv-s.npz") as archive:
        difference = np.load(tmp_path / "f.npy").astype(int) - archive["frames"]
    assert np.abs(difference).max() <= PIXEL_BOUND
