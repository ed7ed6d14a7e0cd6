from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from hypernet.evaluation.synthetic import landscape, sound
from hypernet.video.reader import Frame
from hypernet.video.shots import mark_shots


@pytest.mark.parametrize(("width", "height"), [(16, 16), (33, 17), (97, 64), (64, 97)])
def test_frames_have_the_size_asked_for(width: int, height: int) -> None:
    frames = list(landscape(width, height, 3))
    assert [frame.shape for frame in frames] == [(height, width, 3)] * 3
    assert all(frame.dtype == np.uint8 for frame in frames)


def test_equal_arguments_give_equal_frames() -> None:
    first, again, other = (list(landscape(48, 32, 3, seed=seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_it_moves_like_one_shot_of_video() -> None:
    frames = list(landscape(96, 64, 12))
    changes = [np.abs(a.astype(int) - b.astype(int)).mean() for a, b in pairwise(frames)]
    assert min(changes) > 1
    assert max(changes) < 20
    numbered = [Frame(pts=n, rgb_HWC=frame) for n, frame in enumerate(frames)]
    assert [cut for _, cut in mark_shots(numbered)] == [True] + [False] * 11


def test_it_uses_the_range_of_a_picture() -> None:
    frame = next(landscape(192, 108, 1))
    assert frame.min() < 40
    assert frame.max() > 200
    assert frame.std() > 25


def test_sound_is_audible_and_within_range() -> None:
    samples = sound(24_000, 48_000)
    assert samples.shape == (24_000,)
    assert samples.dtype == np.float32
    assert np.abs(samples).max() <= 1
    assert samples.std() > 0.02
    assert np.array_equal(samples, sound(24_000, 48_000))
    assert not np.array_equal(samples, sound(24_000, 48_000, seed=1))
