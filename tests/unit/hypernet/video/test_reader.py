"""Frames in presentation order with exact timestamps, from whole and from damaged files."""

from __future__ import annotations

import gc
import itertools
import os
import random
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from hypernet.errors import UnreadableInput, UnreadableVideo, UnsupportedVideo
from hypernet.video.probe import probe
from hypernet.video.reader import Frame, ReadReport, read_frames
from tests.clips import Picture, Sound, make_clip, moving
from tests.unit.hypernet.video.containers import rewrite_boxes

B_FRAMES = {"bf": "3", "g": "12", "x264-params": "b-adapt=0:b-pyramid=2"}


def same(one: Picture, other: Picture) -> bool:
    return bool((one == other).all())


def numbers(frames: list[Frame]) -> list[int]:
    return [frame.pts for frame in frames]


def test_b_frames_come_in_presentation_order(tmp_path: Path) -> None:
    pictures = moving(30)
    clip = make_clip(tmp_path / "a.mp4", frames=pictures, codec_options=B_FRAMES | {"qp": "4"})
    frames = list(read_frames(clip))
    assert numbers(frames) == [512 * i for i in range(30)]
    for frame, picture in zip(frames, pictures, strict=True):
        assert np.abs(frame.rgb_HWC.astype(int) - picture).mean() < 6


@pytest.mark.parametrize("options", [{"bf": "0"}, B_FRAMES])
def test_variable_frame_rate(options: dict[str, str], tmp_path: Path) -> None:
    pts = [0, 1, 700, 701, 5000, 5512, 12800, 60000]
    clip = make_clip(tmp_path / "a.mp4", num_frames=8, pts=pts, codec_options=options)
    report = ReadReport()
    assert numbers(list(read_frames(clip, report=report))) == pts
    assert (report.frames, report.missing_frames, report.truncated) == (8, 0, False)
    assert report.warnings() == ()


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_late_start_is_kept(name: str, tmp_path: Path) -> None:
    unit = Fraction(1, 1000)
    clip = make_clip(tmp_path / name, num_frames=3, pts=[500, 540, 580], time_base=unit)
    assert numbers(list(read_frames(clip))) == [500, 540, 580]


def test_edit_lists_hide_frames(tmp_path: Path) -> None:
    def start_at_frame_5(kind: bytes, body: bytes) -> bytes:
        if kind != b"elst":
            return body
        head, (duration, time, rate) = body[:8], struct.unpack(">3i", body[8:])
        return head + struct.pack(">3i", duration - 200, time + 5 * 512, rate)

    clip = make_clip(tmp_path / "a.mp4", num_frames=20, codec_options=B_FRAMES)
    (tmp_path / "b.mp4").write_bytes(rewrite_boxes(clip.read_bytes(), start_at_frame_5))
    whole = list(read_frames(clip))
    edited = list(read_frames(tmp_path / "b.mp4"))
    assert numbers(edited) == [512 * i for i in range(15)]
    assert all(map(same, (f.rgb_HWC for f in edited), (f.rgb_HWC for f in whole[5:])))
    assert probe(tmp_path / "b.mp4").estimated_frames == 15


@pytest.mark.parametrize("start", [0, 1, 7, 19, 20, 25])
@pytest.mark.parametrize("stop", [None, 0, 8, 20, 99])
def test_slices(start: int, stop: int | None, clip_with_b_frames: Path) -> None:
    whole = list(read_frames(clip_with_b_frames))
    part = list(read_frames(clip_with_b_frames, start, stop))
    assert numbers(part) == numbers(whole[start:stop])
    assert all(map(same, (f.rgb_HWC for f in part), (f.rgb_HWC for f in whole[start:stop])))


@pytest.fixture(scope="module")
def clip_with_b_frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "a.mp4"
    return make_clip(path, num_frames=20, codec_options=B_FRAMES | {"g": "6"})


SEEKABLE: dict[str, Callable[[Path], Path]] = {
    "h264 b-frames": lambda folder: make_clip(
        folder / "a.mp4", num_frames=40, codec_options=B_FRAMES
    ),
    "open gop": lambda folder: make_clip(
        folder / "a.mkv",
        num_frames=40,
        codec_options={"bf": "3", "x264-params": "open-gop=1:keyint=10:b-adapt=0"},
    ),
    "hevc open gop": lambda folder: make_clip(
        folder / "a.mp4",
        num_frames=40,
        codec="libx265",
        codec_options={"x265-params": "open-gop=1:keyint=10:log-level=none:pools=none"},
    ),
    "variable rate": lambda folder: make_clip(
        folder / "a.mp4",
        num_frames=40,
        pts=[i * i for i in range(40)],
        codec_options={"g": "7"},
    ),
    "transport stream": lambda folder: make_clip(
        folder / "a.ts", num_frames=40, codec_options=B_FRAMES, audio=[Sound(seconds=1.6)]
    ),
    "avi": lambda folder: make_clip(
        folder / "a.avi", num_frames=40, codec_options=B_FRAMES, time_base=Fraction(1, 25)
    ),
    "raw": lambda folder: make_clip(folder / "a.h264", num_frames=40, codec_options=B_FRAMES),
    "program stream": lambda folder: make_clip(
        folder / "a.mpg", num_frames=40, codec="mpeg2video", time_base=Fraction(1, 25)
    ),
    "vp9": lambda folder: make_clip(
        folder / "a.webm", num_frames=40, codec="libvpx-vp9", codec_options={"g": "10"}
    ),
}


@pytest.mark.parametrize("kind", SEEKABLE)
def test_a_hint_to_seek_never_changes_what_is_read(kind: str, tmp_path: Path) -> None:
    clip = SEEKABLE[kind](tmp_path)
    whole = list(read_frames(clip))
    assert len(whole) == 40
    for start in range(1, 40, 3):
        part = list(read_frames(clip, start, start + 4, start_pts=whole[start].pts))
        assert numbers(part) == numbers(whole[start : start + 4])
        for frame, expected in zip(part, whole[start:], strict=False):
            assert same(frame.rgb_HWC, expected.rgb_HWC)


def test_seeking_saves_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hypernet.video import reader

    clip = make_clip(tmp_path / "a.mp4", num_frames=40, codec_options={"g": "8", "bf": "0"})
    decoded: list[int | None] = []
    monkeypatch.setattr(reader, "refuse_frame", lambda _, frame: decoded.append(frame.pts))
    list(read_frames(clip, 32, 34))
    assert len(decoded) >= 34
    decoded.clear()
    list(read_frames(clip, 32, 34, start_pts=32 * 512))
    assert len(decoded) <= 3


def test_a_wrong_hint_is_not_followed(clip_with_b_frames: Path) -> None:
    whole = list(read_frames(clip_with_b_frames))
    part = list(read_frames(clip_with_b_frames, 8, 10, start_pts=whole[8].pts + 1))
    assert numbers(part) == numbers(whole[8:10])


def test_times_that_do_not_increase_are_repaired_by_the_rule(tmp_path: Path) -> None:
    # Matroska keeps whole milliseconds: these collide at 0, 0, 40, 40 and 41.
    pts = [0, 1, 512, 513, 525, 2560]
    clip = make_clip(tmp_path / "a.mkv", num_frames=6, pts=pts, codec_options={"bf": "0"})
    with av.open(str(clip)) as container:
        raw = [frame.pts for frame in container.decode(video=0)]
        rate = container.streams.video[0].average_rate
    assert raw == [0, 0, 40, 40, 41, 200]
    assert rate == 25
    report = ReadReport()
    assert numbers(list(read_frames(clip, report=report))) == [0, 40, 80, 120, 160, 200]
    assert report.repaired_timestamps == 4


def test_a_raw_stream_gets_times_at_its_rate(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.h264", num_frames=12, codec_options=B_FRAMES)
    report = ReadReport()
    pts = numbers(list(read_frames(clip, report=report)))
    unit = probe(clip).time_base
    assert [time * unit for time in pts] == [Fraction(i, 25) for i in range(12)]
    assert report.repaired_timestamps == 12
    assert report.warnings() == ()


def test_times_that_are_decades_away_are_repaired(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.ivf", codec="libvpx-vp9", num_frames=5)
    data = bytearray(clip.read_bytes())
    position = 32
    for number in range(5):
        size, _ = struct.unpack_from("<IQ", data, position)
        if number in {0, 3}:
            struct.pack_into("<Q", data, position + 4, (1 << 62) + number)
        position += 12 + size
    clip.write_bytes(data)
    report = ReadReport()
    assert numbers(list(read_frames(clip, report=report))) == [0, 512, 1024, 1536, 2048]
    assert report.repaired_timestamps == 2


def test_avi_has_only_decoding_times(tmp_path: Path) -> None:
    clip = make_clip(
        tmp_path / "a.avi", num_frames=20, codec_options=B_FRAMES, time_base=Fraction(1, 25)
    )
    pts = numbers(list(read_frames(clip)))
    assert np.diff(pts).tolist() == [1] * 19


def overwrite(data: bytes, fraction: float, length: int) -> bytes:
    place = int(len(data) * fraction)
    noise = np.random.default_rng(0).integers(0, 256, length, dtype=np.uint8).tobytes()
    return data[:place] + noise + data[place + length :]


DAMAGED = {
    "a.mp4": {"codec_options": {"g": "10"}},
    "a.mkv": {"codec_options": {"g": "10"}},
    "a.ts": {"codec_options": {"g": "10"}},
    "a.avi": {"codec": "mpeg4", "codec_options": {"g": "10"}, "time_base": Fraction(1, 25)},
    "a.mpg": {"codec": "mpeg2video", "codec_options": {"g": "10"}, "time_base": Fraction(1, 25)},
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_in_the_middle_is_survived_and_counted(name: str, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / name, num_frames=60, size=(128, 96), **DAMAGED[name])  # type: ignore[arg-type]
    clip.write_bytes(overwrite(clip.read_bytes(), 0.5, 600))
    report = ReadReport()
    frames = list(read_frames(clip, report=report))
    assert 30 <= len(frames) <= 60
    assert report.frames == len(frames)
    assert report.decode_failures > 0 or report.gaps > 0
    assert any(word in report.warnings()[0] for word in ("damaged packets", "gaps in time"))
    assert all(a < b for a, b in itertools.pairwise(numbers(frames)))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.flv", "fragmented.mp4"])
def test_a_truncated_file_yields_what_it_holds(name: str, tmp_path: Path) -> None:
    flags = "frag_keyframe+empty_moov" if name.startswith("frag") else "faststart"
    clip = make_clip(
        tmp_path / name,
        num_frames=60,
        size=(128, 96),
        codec="mpeg4" if name == "a.avi" else "libx264",
        time_base=Fraction(1, 25) if name == "a.avi" else None,
        codec_options={"g": "10", "bf": "0"},
        container_options={"movflags": flags} if name.endswith(".mp4") else {},
    )
    whole = list(read_frames(clip))
    data = clip.read_bytes()
    clip.write_bytes(data[: int(len(data) * 0.8)])
    report = ReadReport()
    part = list(read_frames(clip, report=report))
    assert 10 < len(part) < 54
    assert report.truncated
    assert 0 < report.missing_frames <= 61 - len(part)
    assert report.warnings()[0].startswith(f"{len(part)} frames of the source could be read")
    assert "ends early" in report.warnings()[0]
    assert numbers(part) == numbers(whole[: len(part)])


def test_a_whole_file_is_not_called_truncated(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv", "a.avi", "a.ts", "a.nut"):
        clip = make_clip(
            tmp_path / name,
            num_frames=20,
            codec="mpeg4",
            time_base=Fraction(1, 25),
            audio=[Sound(codec="libmp3lame", seconds=3)] if name != "a.nut" else [],
        )
        report = ReadReport()
        assert len(list(read_frames(clip, report=report))) == 20
        assert not report.truncated, name


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.nut", "a.flv"])
def test_a_variable_rate_is_not_called_loss(name: str, tmp_path: Path) -> None:
    pts = [512 * n for n in (*range(30), *range(30, 300, 5))]
    clip = make_clip(tmp_path / name, num_frames=len(pts), pts=pts, codec_options={"bf": "0"})
    report = ReadReport()
    assert len(list(read_frames(clip, report=report))) == len(pts)
    assert report.warnings() == ()


def test_nothing_decodes(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mkv", codec="ffv1", pix_fmt="bgr0", num_frames=3)
    data = clip.read_bytes()
    head = data.index(b"\x1f\x43\xb6\x75") + 40
    clip.write_bytes(data[:head] + bytes(len(data) - head))
    with pytest.raises(UnreadableVideo, match="no frame"):
        list(read_frames(clip))


def test_frames_that_change_size_are_refused(tmp_path: Path) -> None:
    first = make_clip(tmp_path / "a.h264", num_frames=5).read_bytes()
    second = make_clip(tmp_path / "b.h264", num_frames=5, size=(96, 64)).read_bytes()
    (tmp_path / "c.h264").write_bytes(first + second)
    frames = read_frames(tmp_path / "c.h264")
    with pytest.raises(UnsupportedVideo, match="from 64x48 to 96x64 in the middle; scale"):
        list(frames)


def test_a_stream_that_grows_beyond_the_limits_stops_there(tmp_path: Path) -> None:
    options = {"bf": "0", "preset": "ultrafast"}
    small = make_clip(tmp_path / "a.ts", frames=moving(4) * 60, codec_options=options)
    black = np.zeros((4400, 8192, 3), np.uint8)
    large = make_clip(tmp_path / "b.ts", frames=[black], codec_options=options)
    (tmp_path / "c.ts").write_bytes(small.read_bytes() + large.read_bytes())
    assert len(list(read_frames(tmp_path / "c.ts"))) == 240


def test_interlaced_frames_in_the_middle_are_refused(tmp_path: Path) -> None:
    first = make_clip(tmp_path / "a.h264", num_frames=5).read_bytes()
    options = {"x264-params": "tff=1"}
    second = make_clip(tmp_path / "b.h264", num_frames=5, codec_options=options).read_bytes()
    (tmp_path / "c.h264").write_bytes(first + second)
    with pytest.raises(UnsupportedVideo, match="interlaced"):
        list(read_frames(tmp_path / "c.h264"))


def test_errors_come_with_the_first_frame(tmp_path: Path) -> None:
    frames = read_frames(tmp_path / "missing.mp4")
    with pytest.raises(UnreadableInput):
        next(frames)


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_leaving_early_closes_the_file(clip_with_b_frames: Path) -> None:
    gc.collect()
    before = open_files()
    frames = read_frames(clip_with_b_frames)
    next(frames)
    assert open_files() > before
    del frames
    gc.collect()
    assert open_files() == before


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_frames_are_not_kept(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mkv", frames=moving(5, (320, 240)) * 60, codec="mpeg4")
    frames = read_frames(clip)
    assert sum(1 for _ in itertools.islice(frames, 60)) == 60
    settled = resident_bytes()
    assert sum(1 for _ in frames) == 240
    # Keeping them would take 53 MiB.
    assert resident_bytes() - settled < 10 << 20


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts", "a.mpg"])
def test_mutants_are_read_or_refused(name: str, tmp_path: Path) -> None:
    codec = {"a.mp4": "libx264", "a.mkv": "libx264", "a.ts": "libx264"}.get(name, "mpeg2video")
    clip = make_clip(tmp_path / name, codec=codec, num_frames=3, time_base=Fraction(1, 25))
    data = clip.read_bytes()
    rng = random.Random(0)
    outcomes = set()
    for _ in range(60):
        mutant = bytearray(data)
        for _ in range(rng.choice((1, 4, 16))):
            mutant[rng.randrange(min(len(data), rng.choice((200, 10**6))))] = rng.randrange(256)
        clip.write_bytes(mutant)
        try:
            probe(clip)
            outcomes.add(len(list(read_frames(clip))) > 0)
        except UnreadableInput:
            outcomes.add(False)
    assert outcomes == {True, False}
