"""Segments: boundaries, limits, memory, and the plan that predicts them."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypernet.errors import UnreadableVideo
from hypernet.video import segments
from hypernet.video.reader import Frame, ReadReport, read_frames
from hypernet.video.segments import SegmentRange, even_lengths, plan_segments
from tests.clips import Picture, make_clip, picture
from tests.unit.hypernet.video.test_shots import rich, shot


@pytest.mark.parametrize(
    ("num_frames", "limit", "expected"),
    [
        (64, 64, [64]),
        (65, 64, [40, 25]),
        (70, 64, [40, 30]),
        (90, 64, [48, 42]),
        (150, 64, [56, 56, 38]),
        (5, 1, [1] * 5),
        (5, 2, [2, 2, 1]),
        (5, 9, [5]),
        (1, 64, [1]),
    ],
)
def test_a_shot_is_cut_into_few_equal_parts(
    num_frames: int, limit: int, expected: list[int]
) -> None:
    assert even_lengths(num_frames, limit) == expected


@given(num_frames=st.integers(1, 5000), limit=st.integers(1, 100))
def test_parts_are_as_few_as_the_limit_allows(num_frames: int, limit: int) -> None:
    lengths = even_lengths(num_frames, limit)
    assert sum(lengths) == num_frames
    assert 1 <= min(lengths) <= max(lengths) <= limit
    assert len(lengths) == -(-num_frames // limit)


def test_the_number_of_bytes_is_limited(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", num_frames=5, size=(16, 12))
    plan = plan_segments(clip, max_bytes=2 * 16 * 12 * 3)
    assert [segment.num_frames for segment in plan] == [2, 2, 1]
    assert len(plan_segments(clip, max_bytes=1)) == 5


def test_no_frame_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[weakref.ref[Picture]] = []
    most = 0

    def frames(_path: Path, *, report: ReadReport) -> Iterator[Frame]:
        nonlocal most
        for number in range(60):
            image = picture(number, (16, 12))
            made.append(weakref.ref(image))
            report.frames += 1
            yield Frame(pts=number, rgb_HWC=image)
            del image
            most = max(most, sum(reference() is not None for reference in made))

    monkeypatch.setattr(segments, "read_frames", frames)
    assert sum(segment.num_frames for segment in plan_segments(tmp_path)) == 60
    # The frame in hand, the one before it that the shot detector compares with, the one being made.
    assert most <= 3


def test_cuts_are_found_and_seeking_gives_the_same_frames(tmp_path: Path) -> None:
    pictures = shot(0, 21) + shot(1, 13) + [rich(2)] * 30
    clip = make_clip(
        tmp_path / "a.mp4", frames=pictures, codec_options={"bf": "2", "g": "9", "crf": "18"}
    )
    plan = plan_segments(clip, max_frames=16)
    assert [segment.num_frames for segment in plan] == [16, 5, 13, 16, 14]
    assert all(segment.seekable for segment in plan)
    everything = list(read_frames(clip))
    for planned in plan:
        stop = planned.first_frame + planned.num_frames
        expected = everything[planned.first_frame : stop]
        assert planned.first_pts == expected[0].pts
        found = read_frames(clip, planned.first_frame, stop, start_pts=planned.first_pts)
        for frame, wanted in zip(found, expected, strict=True):
            assert frame.pts == wanted.pts
            np.testing.assert_array_equal(frame.rgb_HWC, wanted.rgb_HWC)


def test_repaired_times_are_not_seekable(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.h264", num_frames=10)
    report = ReadReport()
    plan = plan_segments(clip, max_frames=4, report=report)
    assert [segment.seekable for segment in plan] == [False] * 3
    assert report.repaired_timestamps == report.frames == 10


def test_a_plan_of_one_frame(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", num_frames=1)
    assert plan_segments(clip) == (SegmentRange(first_frame=0, num_frames=1, first_pts=0),)


def test_a_plan_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideo):
        plan_segments(tmp_path / "missing.mp4")
