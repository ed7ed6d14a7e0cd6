"""Hostile streams: an InvalidStream or a decoded stream, within stated memory; nothing else.

``NRV_FUZZ_MUTANTS=100000`` sets the number of mutants of the long run (``-m slow``).
"""

from __future__ import annotations

import os
import tracemalloc
from collections import Counter
from collections.abc import Iterator

import pytest

from hypernet.bitstream.limits import Limits
from hypernet.bitstream.reader import StreamReader
from hypernet.bitstream.segment import decode_segment, read_segment_timing
from hypernet.bitstream.sources import BytesSource
from hypernet.bitstream.tables import cost_table
from hypernet.errors import InvalidStream
from tests.unit.hypernet.bitstream.mutations import Parts, mutants
from tests.unit.hypernet.bitstream.samples import sample_segment, sample_specs, write_sample

STREAM = write_sample(
    [sample_segment(1, clip_frames=(3, 3, 2)), sample_segment(2, clip_frames=(3,))],
    audio=b"audio" * 20,
    metadata={"title": "fuzz", "tags": [1, 2, 3]},
)
LIMITS = Limits(
    max_frames_per_segment=64,
    max_clips_per_segment=64,
    max_values_per_clip=20_000,
    max_values_per_segment=60_000,
)
LONG_RUN = int(os.environ.get("NRV_FUZZ_MUTANTS", "100000"))

# What FORMAT.md section 7 allows for LIMITS: the payload, 4 bytes per value of the segment, 48
# bytes per value of the largest tensor, frames, clips; and the interpreter's own objects.
MEMORY_LIMIT = 4 * len(STREAM) + 4 * 60_000 + 48 * 20_000 + 64 * 64 + 1024 * 64 + (1 << 20)


def read_everything(stream: bytes) -> None:
    reader = StreamReader(BytesSource(stream), LIMITS)
    reader.verify()
    reader.audio()
    for number in range(len(reader.index.segments)):
        payload = reader.segment(number)
        timing = read_segment_timing(payload, LIMITS)
        decoded = decode_segment(payload, sample_specs, LIMITS)
        assert len(timing.pts) == sum(clip.num_frames for clip in decoded.clips)


def outcomes(streams: Iterator[bytes]) -> Counter[str]:
    """How many were decoded, and how many refused; any other exception fails the test."""
    found: Counter[str] = Counter()
    for stream in streams:
        try:
            read_everything(stream)
        except InvalidStream as error:
            found["refused" if "checksum" not in str(error) else "checksum"] += 1
        else:
            found["decoded"] += 1
    return found


def test_taking_apart_and_joining_gives_the_stream_back() -> None:
    assert Parts.of(STREAM).join() == STREAM


def test_a_few_thousand_mutants() -> None:
    found = outcomes(mutants(STREAM, 2000, seed=1))
    assert found["decoded"] > 200, "the entropy decoder was hardly reached"
    assert found["refused"] > 400, "the parsers were hardly reached"
    assert found["checksum"] < 600, "most mutants stopped at a checksum"


def test_memory_stays_within_what_the_limits_allow() -> None:
    cost_table()
    read_everything(STREAM)
    for stream in mutants(STREAM, 300, seed=2):
        tracemalloc.start()
        outcomes(iter([stream]))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MEMORY_LIMIT


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_mutants() -> None:
    found = outcomes(mutants(STREAM, LONG_RUN, seed=3))
    assert found.total() == LONG_RUN
