"""Written files: pictures, times, rotation, shape and colour come back; nothing is half written."""

from __future__ import annotations

import dataclasses
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hypernet.errors import (
    Cancelled,
    EncodeFailed,
    InvalidSettings,
    InvalidStream,
    OutputNotWritable,
)
from hypernet.video.audio import extract_audio
from hypernet.video.colour import Colour
from hypernet.video.probe import VideoInfo, probe
from hypernet.video.reader import Frame, read_frames
from hypernet.video.writer import WriteReport, write_video
from tests.clips import Sound, make_clip, moving

INFO = VideoInfo(
    width=64, height=48, time_base=Fraction(1, 12800), frame_rate=Fraction(25), rotation=0
)


def frames_of(pts: list[int], size: tuple[int, int] = (64, 48)) -> list[Frame]:
    pictures = moving(len(pts), size)
    return [Frame(pts=time, rgb_HWC=rgb) for time, rgb in zip(pts, pictures, strict=True)]


def noise(count: int, size: tuple[int, int] = (64, 48)) -> list[Frame]:
    rng = np.random.default_rng(0)
    return [
        Frame(pts=512 * i, rgb_HWC=rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
        for i in range(count)
    ]


def sized(size: tuple[int, int]) -> VideoInfo:
    return dataclasses.replace(INFO, width=size[0], height=size[1])


@pytest.mark.parametrize("size", [(64, 48), (101, 57), (1, 1), (3, 2), (16, 9)])
def test_matroska_is_lossless(size: tuple[int, int], tmp_path: Path) -> None:
    frames = noise(3, size)
    report = write_video(tmp_path / "a.mkv", frames, sized(size))
    assert report == WriteReport(num_frames=3)
    for frame, copy in zip(frames, read_frames(tmp_path / "a.mkv"), strict=True):
        np.testing.assert_array_equal(copy.rgb_HWC, frame.rgb_HWC)


@pytest.mark.parametrize(
    ("size", "pixel_format"),
    [((64, 48), "yuv420p"), ((101, 57), "yuv444p"), ((64, 57), "yuv444p"), ((1, 1), "yuv444p")],
)
def test_mp4_keeps_the_true_size(size: tuple[int, int], pixel_format: str, tmp_path: Path) -> None:
    frames = frames_of([0, 512, 1024], size)
    write_video(tmp_path / "a.mp4", frames, sized(size))
    info = probe(tmp_path / "a.mp4")
    assert (info.width, info.height, info.pixel_format) == (*size, pixel_format)
    for frame, copy in zip(frames, read_frames(tmp_path / "a.mp4"), strict=True):
        assert np.abs(copy.rgb_HWC.astype(int) - frame.rgb_HWC).mean() < 4


@pytest.mark.parametrize(
    "time_base",
    [
        Fraction(1, 12800),
        Fraction(1, 90000),
        Fraction(1, 1000),
        Fraction(1, 30000),
        Fraction(1001, 30000),
        Fraction(1, 1200000),
        Fraction(1, 7),
    ],
)
@pytest.mark.parametrize("pts", [[0], [0, 1, 2, 700, 701, 9000], [100, 612, 613], [0, 10, 200000]])
def test_mp4_times_are_exact(time_base: Fraction, pts: list[int], tmp_path: Path) -> None:
    info = dataclasses.replace(INFO, time_base=time_base)
    write_video(tmp_path / "a.mp4", frames_of(pts), info)
    unit = probe(tmp_path / "a.mp4").time_base
    times = [frame.pts * unit for frame in read_frames(tmp_path / "a.mp4")]
    assert times == [time * time_base for time in pts]


def test_matroska_times_are_whole_milliseconds(tmp_path: Path) -> None:
    pts = [0, 512, 700, 9001]
    write_video(tmp_path / "a.mkv", frames_of(pts), INFO)
    assert [frame.pts for frame in read_frames(tmp_path / "a.mkv")] == [0, 40, 55, 703]
    milliseconds = dataclasses.replace(INFO, time_base=Fraction(1, 1000))
    write_video(tmp_path / "b.mkv", frames_of(pts), milliseconds)
    assert [frame.pts for frame in read_frames(tmp_path / "b.mkv")] == pts


def test_the_last_frame_keeps_a_duration(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames_of([0, 512, 1024]), INFO)
    assert probe(tmp_path / "a.mp4").duration_seconds == Fraction(3, 25)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotation(name: str, rotation: int, tmp_path: Path) -> None:
    info = dataclasses.replace(INFO, rotation=rotation)
    frames = frames_of([0, 512])
    write_video(tmp_path / name, frames, info)
    copy = probe(tmp_path / name)
    assert (copy.rotation, copy.width, copy.height) == (rotation, 64, 48)
    first = next(read_frames(tmp_path / name)).rgb_HWC.astype(int)
    assert np.abs(first - frames[0].rgb_HWC).mean() < 4


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.y4m"])
@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(8, 9), Fraction(1280, 1281)])
def test_pixel_aspect(name: str, aspect: Fraction, tmp_path: Path) -> None:
    info = dataclasses.replace(INFO, pixel_aspect=aspect)
    assert write_video(tmp_path / name, frames_of([0, 512]), info).dropped == ()
    assert probe(tmp_path / name).pixel_aspect == aspect
    assert len(list(read_frames(tmp_path / name))) == 2


def test_everything_at_once_in_matroska(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", audio=[Sound(codec="libopus")])
    info = dataclasses.replace(
        INFO,
        rotation=90,
        pixel_aspect=Fraction(16, 11),
        colour=Colour(primaries=9, transfer=14, matrix=9, full_range=True),
    )
    report = write_video(tmp_path / "b.mkv", noise(9), info, extract_audio(source))
    assert report == WriteReport(num_frames=9)
    copy = probe(tmp_path / "b.mkv")
    assert (copy.rotation, copy.pixel_aspect, copy.has_audio) == (90, Fraction(16, 11), True)
    assert copy.colour == Colour(primaries=9, transfer=14, matrix=0, full_range=True)
    for frame, again in zip(noise(9), read_frames(tmp_path / "b.mkv"), strict=True):
        np.testing.assert_array_equal(again.rgb_HWC, frame.rgb_HWC)


COLOURS = [
    Colour(),
    Colour(primaries=1, transfer=1, matrix=1),
    Colour(primaries=6, transfer=6, matrix=6),
    Colour(primaries=5, transfer=6, matrix=5, full_range=True),
    Colour(primaries=9, transfer=14, matrix=9),
    Colour(full_range=True),
]


@pytest.mark.parametrize("colour", COLOURS)
def test_mp4_keeps_colour_tags_and_colours(colour: Colour, tmp_path: Path) -> None:
    frames = frames_of([0, 512])
    write_video(tmp_path / "a.mp4", frames, dataclasses.replace(INFO, colour=colour))
    assert probe(tmp_path / "a.mp4").colour == colour
    for frame, copy in zip(frames, read_frames(tmp_path / "a.mp4"), strict=True):
        difference = copy.rgb_HWC.astype(int) - frame.rgb_HWC
        assert np.abs(difference).mean() < 3
        assert np.abs(difference.mean(axis=(0, 1))).max() < 1.5


@pytest.mark.parametrize("colour", COLOURS)
def test_matroska_keeps_primaries_and_transfer(colour: Colour, tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", noise(2), dataclasses.replace(INFO, colour=colour))
    expected = dataclasses.replace(colour, matrix=0, full_range=True)
    assert probe(tmp_path / "a.mkv").colour == expected


@pytest.mark.parametrize("colour", COLOURS)
def test_y4m_is_read_back_with_the_same_colours(colour: Colour, tmp_path: Path) -> None:
    frames = frames_of([0, 500, 512], (31, 17))
    info = dataclasses.replace(sized((31, 17)), colour=colour)
    assert write_video(tmp_path / "a.y4m", frames, info) == WriteReport(num_frames=3)
    copy = probe(tmp_path / "a.y4m")
    assert (copy.width, copy.height) == (31, 17)
    assert copy.frame_rate == 25
    assert copy.colour.full_range == colour.full_range
    for frame, again in zip(frames, read_frames(tmp_path / "a.y4m"), strict=True):
        assert np.abs(again.rgb_HWC.astype(int) - frame.rgb_HWC).max() <= 4


@pytest.mark.parametrize("name", ["out/", "out"])
def test_pictures(name: str, tmp_path: Path) -> None:
    frames = noise(3, (31, 17))
    assert write_video(f"{tmp_path}/{name}", frames, sized((31, 17))).num_frames == 3
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["000000.png", "000001.png", "000002.png"]
    for frame, file in zip(frames, names, strict=True):
        np.testing.assert_array_equal(
            np.asarray(Image.open(tmp_path / "out" / file)), frame.rgb_HWC
        )


def test_an_empty_folder_is_filled_and_another_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "empty.frames").mkdir()
    write_video(tmp_path / "empty.frames", noise(1), INFO)
    assert (tmp_path / "empty.frames" / "000000.png").exists()
    with pytest.raises(OutputNotWritable, match="not an empty folder"):
        write_video(tmp_path / "empty.frames", noise(2), INFO)
    assert len(list((tmp_path / "empty.frames").iterdir())) == 1


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.y4m", "a/"])
def test_another_size_keeps_the_display_shape(name: str, tmp_path: Path) -> None:
    path = f"{tmp_path}/{name}"
    write_video(path, frames_of([0, 512]), INFO, size=(32, 48))
    if name == "a/":
        with Image.open(tmp_path / "a" / "000001.png") as picture:
            assert picture.size == (32, 48)
        return
    info = probe(path)
    assert (info.width, info.height) == (32, 48)
    assert info.pixel_aspect == 2


def test_sources_without_a_rate(tmp_path: Path) -> None:
    info = dataclasses.replace(INFO, frame_rate=None)
    for name in ("a.mp4", "a.mkv", "a.y4m"):
        write_video(tmp_path / name, frames_of([0, 512]), info)
        assert len(list(read_frames(tmp_path / name))) == 2


def test_a_source_round_trip_through_lossless_matroska(tmp_path: Path) -> None:
    source = make_clip(
        tmp_path / "a.mp4", pix_fmt="yuv420p10le", size=(98, 54), audio=[Sound()], rotation=270
    )
    write_video(tmp_path / "b.mkv", read_frames(source), probe(source), extract_audio(source))
    for frame, copy in zip(read_frames(source), read_frames(tmp_path / "b.mkv"), strict=True):
        np.testing.assert_array_equal(copy.rgb_HWC, frame.rgb_HWC)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.y4m"])
@pytest.mark.parametrize(
    "changes",
    [
        {"pixel_aspect": Fraction(1, (1 << 32) - 1)},
        {"pixel_aspect": Fraction((1 << 32) - 1)},
        {"pixel_aspect": Fraction((1 << 32) - 1, (1 << 32) - 2)},
        {"time_base": Fraction(1, (1 << 32) - 1)},
        {"time_base": Fraction((1 << 32) - 2, (1 << 32) - 1)},
        {"frame_rate": Fraction(1, 10**9)},
        {"frame_rate": Fraction(10**9)},
        {"colour": Colour(matrix=200)},
        {"colour": Colour(primaries=255, transfer=255, matrix=8)},
    ],
)
def test_headers_at_the_limits_are_written(
    name: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    info = dataclasses.replace(INFO, **changes)
    write_video(tmp_path / name, frames_of([0, 512]), info)
    assert len(list(read_frames(tmp_path / name))) == 2


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("pts", [[0, 1 << 62], [-(1 << 63), 0], [(1 << 63) - 1]])
def test_times_beyond_the_limits_are_an_invalid_stream(
    name: str, pts: list[int], tmp_path: Path
) -> None:
    with pytest.raises(InvalidStream, match="seconds or later"):
        write_video(tmp_path / name, frames_of(pts), INFO)
    assert leftovers(tmp_path) == []


TARGETS = ["a.mp4", "a.mkv", "a.y4m", "a/"]


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("error", [Cancelled("stop"), KeyboardInterrupt()])
def test_an_interruption_leaves_nothing(name: str, error: BaseException, tmp_path: Path) -> None:
    def interrupted() -> Iterator[Frame]:
        yield from noise(2)
        raise error

    with pytest.raises(type(error)):
        write_video(f"{tmp_path}/{name}", interrupted(), INFO)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.y4m"])
def test_an_interruption_leaves_the_old_file(name: str, tmp_path: Path) -> None:
    def interrupted() -> Iterator[Frame]:
        yield from noise(2)
        raise KeyboardInterrupt

    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / name, interrupted(), INFO)
    assert (tmp_path / name).read_bytes() == b"precious"
    assert leftovers(tmp_path) == [name]


@pytest.mark.parametrize("name", TARGETS)
def test_a_missing_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputNotWritable, match="cannot write"):
        write_video(f"{tmp_path}/missing/{name}", noise(1), INFO)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.y4m"])
def test_a_file_in_place_of_a_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").touch()
    with pytest.raises(OutputNotWritable):
        write_video(tmp_path / "folder" / name, noise(1), INFO)


@contextmanager
def disk_full_at(num_bytes: int) -> Iterator[None]:
    """Every write of this process beyond that many bytes of a file fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 30_000])
@pytest.mark.parametrize("name", TARGETS)
def test_a_full_disk(name: str, room: int, tmp_path: Path) -> None:
    if name != "a/":
        (tmp_path / name).write_bytes(b"precious")
    size = (160, 120)
    with disk_full_at(room), pytest.raises(OutputNotWritable, match="cannot write"):
        write_video(f"{tmp_path}/{name}", noise(12, size), sized(size))
    if name == "a/":
        assert leftovers(tmp_path) == []
    else:
        assert leftovers(tmp_path) == [name]
        assert (tmp_path / name).read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.y4m"])
def test_a_full_device(name: str, tmp_path: Path) -> None:
    os.symlink("/dev/full", tmp_path / name)  # noqa: PTH211
    with pytest.raises(OutputNotWritable, match="No space left"):
        write_video(tmp_path / name, noise(12), INFO)


def test_a_device_is_not_replaced_by_a_folder() -> None:
    with pytest.raises(OutputNotWritable):
        write_video("/dev/null", noise(1), INFO)
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("name", ["a.avi", "a.webm", "a.nrv", "a.txt"])
def test_unknown_suffixes(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"use \.mp4, \.mkv, \.y4m or a folder"):
        write_video(tmp_path / name, noise(1), INFO)


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_to_write(name: str, tmp_path: Path) -> None:
    with pytest.raises(EncodeFailed, match="no frame"):
        write_video(f"{tmp_path}/{name}", [], INFO)
    assert leftovers(tmp_path) == []


def test_the_written_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_video(tmp_path / "a.mp4", noise(1), INFO)
    assert (tmp_path / "a.mp4").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_frames_are_asked_for_one_by_one(tmp_path: Path) -> None:
    ahead = 0

    def frames() -> Iterator[Frame]:
        nonlocal ahead
        for frame in noise(100):
            ahead += 1
            yield frame

    assert write_video(tmp_path / "a.mkv", frames(), INFO).num_frames == ahead == 100
