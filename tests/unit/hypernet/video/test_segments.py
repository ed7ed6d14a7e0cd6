"""Segments: boundaries, limits, memory, and the plan that predicts them."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hypernet.errors import UnreadableVideo
from hypernet.video.reader import Frame, ReadReport, read_frames
from hypernet.video.segments import (
    FrameSegment,
    SegmentRange,
    plan_segments,
    split_segments,
)
from tests.clips import Picture, make_clip, moving, picture
from tests.unit.hypernet.video.test_shots import rich, shot


def frames_of(count: int, size: tuple[int, int] = (16, 12)) -> list[Frame]:
    return [Frame(pts=3 * i, rgb_HWC=image) for i, image in enumerate(moving(count, size))]


def lengths(segments: list[FrameSegment]) -> list[int]:
    return [len(segment.pts) for segment in segments]


def test_every_frame_comes_once_in_order() -> None:
    frames = frames_of(150)
    segments = list(split_segments(frames))
    assert lengths(segments) == [64, 64, 22]
    assert [segment.first_frame for segment in segments] == [0, 64, 128]
    assert [pts for segment in segments for pts in segment.pts] == [frame.pts for frame in frames]
    pixels = np.concatenate([segment.frames_THWC for segment in segments])
    np.testing.assert_array_equal(pixels, np.stack([frame.rgb_HWC for frame in frames]))


@pytest.mark.parametrize(("max_frames", "expected"), [(1, [1] * 5), (2, [2, 2, 1]), (9, [5])])
def test_the_number_of_frames_is_limited(max_frames: int, expected: list[int]) -> None:
    assert lengths(list(split_segments(frames_of(5), max_frames))) == expected


def test_the_number_of_bytes_is_limited() -> None:
    frame_bytes = 16 * 12 * 3
    assert lengths(list(split_segments(frames_of(5), max_bytes=2 * frame_bytes))) == [2, 2, 1]
    assert lengths(list(split_segments(frames_of(3), max_bytes=1))) == [1, 1, 1]


def test_no_frames_no_segments() -> None:
    assert list(split_segments([])) == []


def test_a_cut_starts_a_segment() -> None:
    pictures = shot(0, 10) + shot(1, 7) + shot(2, 9)
    frames = [Frame(pts=number, rgb_HWC=image) for number, image in enumerate(pictures)]
    assert lengths(list(split_segments(frames))) == [10, 7, 9]
    assert lengths(list(split_segments(frames, max_frames=8))) == [8, 2, 7, 8, 1]


def test_one_segment_and_one_frame_are_held() -> None:
    made: list[weakref.ref[Picture]] = []
    most = 0

    def frames() -> Iterator[Frame]:
        nonlocal most
        for number in range(60):
            image = picture(number, (16, 12))
            made.append(weakref.ref(image))
            yield Frame(pts=number, rgb_HWC=image)
            del image
            most = max(most, sum(reference() is not None for reference in made))

    for segment in split_segments(frames(), max_frames=8):
        assert len(segment.pts) <= 8
    # Eight frames of the segment, the one that starts the next, and the one being made.
    assert most <= 10


def test_the_plan_agrees_with_the_split_and_with_seeking(tmp_path: Path) -> None:
    pictures = shot(0, 21) + shot(1, 13) + [rich(2)] * 30
    clip = make_clip(
        tmp_path / "a.mp4", frames=pictures, codec_options={"bf": "2", "g": "9", "crf": "18"}
    )
    plan = plan_segments(clip, max_frames=16)
    segments = list(split_segments(read_frames(clip), max_frames=16))
    assert [segment.num_frames for segment in plan] == [16, 5, 13, 16, 14]
    assert all(segment.seekable for segment in plan)
    for planned, segment in zip(plan, segments, strict=True):
        assert planned.first_frame == segment.first_frame
        assert planned.num_frames == len(segment.pts)
        assert planned.first_pts == segment.pts[0]
        frames = read_frames(
            clip,
            planned.first_frame,
            planned.first_frame + planned.num_frames,
            start_pts=planned.first_pts,
        )
        np.testing.assert_array_equal(
            np.stack([frame.rgb_HWC for frame in frames]), segment.frames_THWC
        )


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
