"""Shot cuts are found; flashes, fades, pans, shakes and moving objects are not cuts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from hypernet.video.reader import Frame
from hypernet.video.shots import mark_shots, residual, thumbnail
from tests.clips import Picture, moving, picture


def cuts(pictures: list[Picture]) -> list[int]:
    """Numbers of the frames that start a shot, the first one left out."""
    frames = [Frame(pts=number, rgb_HWC=rgb) for number, rgb in enumerate(pictures)]
    marked = list(mark_shots(frames))
    assert [frame for frame, _ in marked] == frames
    assert [starts for _, starts in marked[:1]] == [True] * min(1, len(frames))
    return [number for number, (_, starts) in enumerate(marked) if starts and number]


def rich(seed: int, size: tuple[int, int] = (320, 240)) -> Picture:
    """A still scene: coloured rectangles of many sizes."""
    rng = np.random.default_rng(seed)
    width, height = size
    image = np.full((height, width, 3), rng.integers(30, 220, 3), np.uint8)
    for _ in range(40):
        x, y = rng.integers(0, width), rng.integers(0, height)
        w, h = rng.integers(8, width // 3), rng.integers(8, height // 3)
        image[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    return image


def noisy(image: Picture, seed: int, strength: float = 4) -> Picture:
    noise = np.random.default_rng(seed).normal(0, strength, image.shape)
    return np.asarray(np.clip(image + noise, 0, 255), np.uint8)


def shot(seed: int, length: int) -> list[Picture]:
    image = rich(seed)
    return [noisy(np.roll(image, 2 * number, axis=1), number) for number in range(length)]


@pytest.mark.parametrize("lengths", [(10, 12), (1, 9), (9, 1), (4, 7, 2, 9)])
def test_cuts(lengths: tuple[int, ...]) -> None:
    pictures = [image for seed, length in enumerate(lengths) for image in shot(seed, length)]
    assert cuts(pictures) == np.cumsum(lengths)[:-1].tolist()


def test_most_pairs_of_scenes_are_told_apart() -> None:
    found = [cuts(shot(2 * seed, 3) + shot(2 * seed + 1, 3)) == [3] for seed in range(10)]
    assert all(found)


@pytest.mark.parametrize("pictures", [[], [rich(0)], [rich(0), rich(0)]])
def test_very_short_videos(pictures: list[Picture]) -> None:
    assert cuts(pictures) == []


def test_a_flash_of_one_frame_is_not_a_cut() -> None:
    pictures = shot(0, 20)
    pictures[7] = np.full_like(pictures[7], 255)
    pictures[13] = np.asarray(255 - pictures[13], np.uint8)
    assert cuts(pictures) == []


def test_a_cut_just_after_a_flash_is_found() -> None:
    pictures = shot(0, 10) + shot(1, 10)
    pictures[8] = np.full_like(pictures[8], 255)
    assert cuts(pictures) == [10]


def test_fades_are_not_cuts() -> None:
    levels = np.concatenate([np.linspace(1, 0, 12), np.linspace(0, 1, 12)])
    scenes = [rich(0)] * 12 + [rich(1)] * 12
    pictures = [
        np.asarray(image * level, np.uint8) for image, level in zip(scenes, levels, strict=True)
    ]
    assert cuts(pictures) == []


def test_dissolves_are_not_cuts() -> None:
    old, new = rich(0).astype(np.float32), rich(1).astype(np.float32)
    pictures = [
        np.asarray(old * (1 - level) + new * level, np.uint8) for level in np.linspace(0, 1, 15)
    ]
    assert cuts(pictures) == []


@pytest.mark.parametrize("speed", [4, 12, 24])
def test_pans_are_not_cuts(speed: int) -> None:
    world = rich(3, (1600, 240))
    pictures = [world[:, speed * number : speed * number + 320] for number in range(30)]
    assert cuts(pictures) == []


def test_a_whip_pan_is_not_a_cut() -> None:
    world = rich(3, (4000, 240))
    steps = np.cumsum([2, 6, 14, 26, 40, 56, 70, 80, 80, 70, 56, 40, 26, 14, 6, 2])
    assert cuts([world[:, step : step + 320] for step in steps]) == []


def test_shakes_are_not_cuts() -> None:
    world = rich(4, (400, 320))
    shifts = np.random.default_rng(0).integers(0, 24, (30, 2))
    assert cuts([world[y : y + 240, x : x + 320] for y, x in shifts]) == []


def test_a_large_moving_object_is_not_a_cut() -> None:
    pictures = []
    for number in range(24):
        image = rich(5).copy()
        image[40:200, 10 * number : 10 * number + 120] = (250, 30, 30)
        pictures.append(image)
    assert cuts(pictures) == []


def test_a_slow_texture_is_one_shot() -> None:
    assert cuts(moving(30)) == []


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (64, 36), (101, 57), (480, 854)])
def test_thumbnails_of_any_size(size: tuple[int, int]) -> None:
    small = thumbnail(picture(size=size))
    assert small.shape == (36, 64, 3)
    assert small.dtype == np.float32
    assert abs(float(small.mean()) - picture(size=size).mean()) < 6


def test_the_residual_ignores_motion_but_not_content() -> None:
    small = thumbnail(rich(0))
    assert residual(small, small) == 0
    assert residual(small, np.roll(small, (3, -5), axis=(0, 1))) < 6
    assert residual(small, thumbnail(rich(1))) > 20


def test_only_one_frame_is_held_back() -> None:
    taken = 0

    def frames() -> Iterator[Frame]:
        nonlocal taken
        for number, image in enumerate(shot(0, 6) + shot(1, 6)):
            taken += 1
            yield Frame(pts=number, rgb_HWC=image)

    for given, _ in enumerate(mark_shots(frames()), 1):
        assert taken - given <= 1
