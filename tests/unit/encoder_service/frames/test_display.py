from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from encoder_service.frames.display import displayed_size, upright
from hypernet.video.colour import Colour
from hypernet.video.probe import VideoInfo


def info(width: int, height: int, rotation: int = 0, aspect: Fraction = Fraction(1)) -> VideoInfo:
    return VideoInfo(
        width=width,
        height=height,
        time_base=Fraction(1, 25),
        frame_rate=None,
        rotation=rotation,
        pixel_aspect=aspect,
        colour=Colour(),
        bit_depth=8,
        estimated_frames=1,
        has_audio=False,
    )


@pytest.mark.parametrize(
    ("video", "max_width", "size"),
    [
        (info(320, 180), None, (320, 180)),
        (info(320, 180), 160, (160, 90)),
        (info(320, 180), 4096, (320, 180)),
        (info(320, 180, rotation=90), None, (180, 320)),
        (info(320, 180, rotation=270), 90, (90, 160)),
        (info(720, 576, aspect=Fraction(16, 11)), None, (720, 396)),
        (info(720, 576, aspect=Fraction(1, 2)), None, (360, 576)),
        (info(720, 576, aspect=Fraction(1, 2), rotation=90), 288, (288, 180)),
        (info(4000, 1), 16, (16, 1)),
    ],
)
def test_sizes(video: VideoInfo, max_width: int | None, size: tuple[int, int]) -> None:
    assert displayed_size(video, max_width) == size


def test_pictures_stand_upright() -> None:
    corner = np.zeros((2, 3, 3), np.uint8)
    corner[0, 0] = 255  # top left
    assert upright(corner, 0)[0, 0].all()
    assert upright(corner, 90).shape == (3, 2, 3)
    assert upright(corner, 90)[0, 1].all()  # clockwise: top right
    assert upright(corner, 180)[1, 2].all()
    assert upright(corner, 270)[2, 0].all()
