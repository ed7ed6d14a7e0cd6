from __future__ import annotations

import json
from functools import partial

import pytest

from tests.golden.golden import EXPECTED, FOLDER, check_golden, describe_symbols
from tests.unit.hypernet.bitstream.samples import sample_segment, sample_specs, write_sample

SAMPLES = {
    "bitstream-one-clip": lambda: write_sample([sample_segment(2, clip_frames=(1,))]),
    "bitstream-residuals": lambda: write_sample([sample_segment(3)]),
    "bitstream-all-sections": lambda: write_sample(
        [sample_segment(4, clip_frames=(8,)), sample_segment(5, clip_frames=(4, 4, 4, 3))],
        audio=bytes(range(256)),
        metadata={"title": "Straße", "year": 2026},
    ),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_golden_streams_keep_their_bytes_and_symbols(name: str) -> None:
    check_golden(name, SAMPLES[name], partial(describe_symbols, specs_of=sample_specs))


def test_no_golden_file_is_missing_or_unrecorded() -> None:
    recorded = json.loads(EXPECTED.read_text())
    assert sorted(path.stem for path in FOLDER.glob("*.nrv")) == sorted(recorded)
