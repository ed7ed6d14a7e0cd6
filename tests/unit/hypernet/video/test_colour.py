"""The one conversion to RGB, its rule for untagged colour, and the way back."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from hypernet.video.colour import (
    UNTAGGED,
    Colour,
    colour_of,
    frame_from_rgb,
    rgb_of,
    tag,
    writable_colour,
)
from tests.clips import Tags, make_clip, picture

WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}


def flat_yuv(y: int, u: int, v: int, size: tuple[int, int] = (16, 16)) -> VideoFrame:
    frame = VideoFrame(*size, "yuv444p")
    for plane, value in zip(frame.planes, (y, u, v), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    return frame


def expected_rgb(y: int, u: int, v: int, matrix: int, *, full: bool) -> tuple[float, float, float]:
    """The equations of ITU-T H.273."""
    kr, kb = WEIGHTS[matrix]
    luma = y / 255 if full else (y - 16) / 219
    cb = (u - 128) / (255 if full else 224)
    cr = (v - 128) / (255 if full else 224)
    red = luma + 2 * (1 - kr) * cr
    blue = luma + 2 * (1 - kb) * cb
    green = (luma - kr * red - kb * blue) / (1 - kr - kb)
    return red * 255, green * 255, blue * 255


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", WEIGHTS)
def test_tagged_colour_follows_its_matrix_and_range(matrix: int, full: bool) -> None:
    frame = flat_yuv(120, 100, 150)
    frame.colorspace, frame.color_range = matrix, 2 if full else 1
    expected = expected_rgb(120, 100, 150, matrix, full=full)
    np.testing.assert_allclose(rgb_of(frame)[8, 8], expected, atol=2)


@pytest.mark.parametrize("size", [(720, 576), (1280, 720), (1920, 1080)])
def test_untagged_colour_is_bt601_limited_whatever_the_size(size: tuple[int, int]) -> None:
    expected = expected_rgb(120, 100, 150, 6, full=False)
    np.testing.assert_allclose(rgb_of(flat_yuv(120, 100, 150, size))[8, 8], expected, atol=2)


@pytest.mark.parametrize(
    ("codec", "pix_fmt"),
    [
        ("ffv1", "yuv420p"),
        ("ffv1", "yuv422p"),
        ("libx264", "yuv444p"),
        ("ffv1", "yuv420p10le"),
        ("mjpeg", "yuvj420p"),
        ("ffv1", "bgr0"),
        ("ffv1", "gray"),
    ],
)
def test_it_is_exactly_what_pyav_gives(codec: str, pix_fmt: str, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mkv", codec=codec, pix_fmt=pix_fmt, size=(101, 57))
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            rgb = rgb_of(frame)
            assert rgb.dtype == np.uint8
            assert rgb.shape == (57, 101, 3)
            np.testing.assert_array_equal(rgb, frame.to_ndarray(format="rgb24"))


def test_frames_of_several_videos_in_turn_do_not_colour_each_other() -> None:
    seen = set()
    for colour in (Colour(matrix=1), Colour(matrix=6), Colour(matrix=6, full_range=True)) * 2:
        frame = flat_yuv(100, 90, 180)
        tag(frame, colour)
        rgb = rgb_of(frame)
        np.testing.assert_array_equal(rgb, frame.to_ndarray(format="rgb24"))
        seen.add(tuple(rgb[0, 0].tolist()))
    assert len(seen) == 3


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p"])
@pytest.mark.parametrize(
    "colour",
    [
        UNTAGGED,
        Colour(matrix=1, primaries=1, transfer=1),
        Colour(matrix=6, primaries=6, transfer=6, full_range=True),
        Colour(matrix=9, primaries=9, transfer=14),
    ],
)
def test_rgb_to_yuv_and_back(colour: Colour, pix_fmt: str) -> None:
    rgb = picture(size=(64, 48))
    frame = frame_from_rgb(rgb, pix_fmt, colour, (64, 48))
    assert frame.format.name == pix_fmt
    assert colour_of(frame) == colour
    difference = np.abs(rgb_of(frame).astype(int) - rgb)
    assert difference.mean() < (1 if pix_fmt == "yuv444p" else 2)


def test_rgb_stays_rgb_exactly() -> None:
    rgb = picture(size=(33, 17))
    colour = writable_colour(Colour(matrix=1, primaries=1, transfer=13), rgb=True)
    frame = frame_from_rgb(rgb, "bgr0", colour, (33, 17))
    np.testing.assert_array_equal(rgb_of(frame), rgb)
    assert colour == Colour(matrix=0, primaries=1, transfer=13, full_range=True)


def test_scaling_keeps_flat_colour() -> None:
    rgb = np.full((20, 30, 3), (200, 100, 50), np.uint8)
    frame = frame_from_rgb(rgb, "bgr0", writable_colour(UNTAGGED, rgb=True), (45, 64))
    assert (frame.width, frame.height) == (45, 64)
    assert np.abs(rgb_of(frame).astype(int) - (200, 100, 50)).max() <= 1


def test_rgb_sources_are_written_as_bt709_limited_yuv() -> None:
    rgb_source = Colour(matrix=0, primaries=1, transfer=13, full_range=True)
    assert writable_colour(rgb_source, rgb=False) == Colour(matrix=1, primaries=1, transfer=13)


def test_other_colours_are_written_as_they_are() -> None:
    colour = Colour(matrix=6, primaries=5, transfer=6, full_range=True)
    assert writable_colour(colour, rgb=False) == colour


def test_reserved_codes_count_as_unspecified() -> None:
    frame = flat_yuv(16, 128, 128)
    frame.colorspace = frame.color_primaries = frame.color_trc = 3
    assert colour_of(frame) == UNTAGGED


def test_tags_are_written_on_encoders_too(tmp_path: Path) -> None:
    colour = Colour(matrix=1, primaries=9, transfer=14, full_range=True)
    with av.open(str(tmp_path / "a.mkv"), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        tag(stream.codec_context, colour)
        assert stream.codec_context.color_primaries == 9
        assert stream.codec_context.color_trc == 14
        assert stream.codec_context.colorspace == 1
        assert stream.codec_context.color_range == 2
    assert Tags().range == 0
