"""What a file is said to be, and which kinds of video are refused."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest

from hypernet.errors import UnreadableInput, UnreadableVideo, UnsupportedVideo
from hypernet.video.colour import Colour
from hypernet.video.pictures import png_of
from hypernet.video.probe import probe
from hypernet.video.reader import read_frames
from tests.clips import Sound, Tags, make_clip, picture
from tests.unit.hypernet.video.containers import rewrite_boxes


def test_a_plain_clip(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "a.mp4", num_frames=10, audio=[Sound()]))
    assert (info.width, info.height) == (64, 48)
    assert info.time_base == Fraction(1, 12800)
    assert info.frame_rate == 25
    assert info.rotation == 0
    assert info.pixel_aspect == 1
    assert info.colour == Colour()
    assert (info.bit_depth, info.pixel_format) == (8, "yuv420p")
    assert info.estimated_frames == 10
    assert info.duration_seconds == Fraction(2, 5)
    assert info.has_audio


@pytest.mark.parametrize(
    ("name", "codec", "time_base"),
    [
        ("a.mkv", "libx264", None),
        ("a.mov", "prores_ks", None),
        ("a.webm", "libvpx-vp9", None),
        ("a.avi", "mpeg4", Fraction(1, 25)),
        ("a.ts", "libx264", None),
        ("a.mpg", "mpeg2video", Fraction(1, 25)),
        ("a.flv", "flv", None),
        ("a.y4m", "wrapped_avframe", Fraction(1, 25)),
        ("a.ivf", "libvpx-vp9", None),
        ("a.nut", "ffv1", None),
        ("a.h264", "libx264", None),
        ("a.m2v", "mpeg2video", Fraction(1, 25)),
    ],
)
def test_accepted_formats(
    name: str, codec: str, time_base: Fraction | None, tmp_path: Path
) -> None:
    pix_fmt = "yuv422p10le" if codec == "prores_ks" else "yuv420p"
    clip = make_clip(
        tmp_path / name, codec=codec, pix_fmt=pix_fmt, time_base=time_base, num_frames=5
    )
    info = probe(clip)
    assert (info.width, info.height) == (64, 48)
    assert info.frame_rate == 25
    assert not info.has_audio
    assert len(list(read_frames(clip))) == 5


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_rotation_is_clockwise(name: str, rotation: int, tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / name, rotation=rotation, num_frames=2))
    assert info.rotation == rotation
    assert (info.width, info.height) == (64, 48)


def test_a_mirrored_picture_is_refused(tmp_path: Path) -> None:
    mirrored = struct.pack(">9i", -65536, 0, 0, 0, 65536, 0, 64 << 16, 0, 1 << 30)

    def mirror(kind: bytes, body: bytes) -> bytes:
        return body[:40] + mirrored + body[76:] if kind == b"tkhd" else body

    clip = make_clip(tmp_path / "a.mp4").read_bytes()
    (tmp_path / "b.mp4").write_bytes(rewrite_boxes(clip, mirror))
    with pytest.raises(UnsupportedVideo, match="mirrored"):
        probe(tmp_path / "b.mp4")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_anamorphic_pixels(name: str, tmp_path: Path) -> None:
    assert probe(make_clip(tmp_path / name, pixel_aspect=Fraction(4, 3))).pixel_aspect == Fraction(
        4, 3
    )


@pytest.mark.parametrize(
    "tags",
    [
        Tags(),
        Tags(primaries=1, transfer=1, matrix=1, range=1),
        Tags(primaries=6, transfer=6, matrix=6, range=1),
        Tags(primaries=5, transfer=6, matrix=5, range=2),
        Tags(primaries=9, transfer=14, matrix=9, range=1),
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_colour_tags(name: str, tags: Tags, tmp_path: Path) -> None:
    colour = probe(make_clip(tmp_path / name, tags=tags, num_frames=2)).colour
    assert colour == Colour(
        primaries=tags.primaries,
        transfer=tags.transfer,
        matrix=tags.matrix,
        full_range=tags.range == 2,
    )


def test_rgb_and_grey_have_full_range(tmp_path: Path) -> None:
    rgb = probe(make_clip(tmp_path / "a.mkv", codec="ffv1", pix_fmt="bgr0"))
    assert rgb.colour == Colour(matrix=0, full_range=True)
    assert probe(make_clip(tmp_path / "b.mkv", codec="ffv1", pix_fmt="gray")).colour.full_range


@pytest.mark.parametrize(
    ("pix_fmt", "bits"), [("yuv420p10le", 10), ("yuv422p", 8), ("yuv444p", 8), ("yuvj420p", 8)]
)
def test_pixel_formats(pix_fmt: str, bits: int, tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "a.mp4", pix_fmt=pix_fmt))
    assert (info.pixel_format, info.bit_depth) == (pix_fmt, bits)


@pytest.mark.parametrize("rate", [b"F0:0", b"F0:1", b""])
def test_no_frame_rate(rate: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.y4m"
    path.write_bytes(b"YUV4MPEG2 W4 H4 " + rate + b" C444\n" + 3 * (b"FRAME\n" + bytes(48)))
    assert probe(path).width == 4
    assert len({frame.pts for frame in read_frames(path)}) == 3


REFUSED = {
    "pq": {"tags": Tags(matrix=9, primaries=9, transfer=16, range=1)},
    "hlg": {"tags": Tags(matrix=9, primaries=9, transfer=18, range=1)},
    "interlaced": {"codec_options": {"x264-params": "tff=1"}},
    "transparency": {"codec": "ffv1", "pix_fmt": "yuva420p"},
    "matrix": {"tags": Tags(matrix=8, range=1), "pix_fmt": "yuv444p"},
    "wide": {"size": (8224, 16)},
    "high": {"size": (16, 8224)},
}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pq", "HDR .* ffmpeg -i IN -vf zscale"),
        ("hlg", "HDR .* tone-map"),
        ("interlaced", "interlaced; .* bwdif"),
        ("transparency", "transparency"),
        ("matrix", "colour matrix 8"),
        ("wide", "8224x16; at most 8192"),
        ("high", "16x8224; at most 8192"),
    ],
)
def test_refused_kinds_say_what_to_do(kind: str, message: str, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mkv", num_frames=2, **REFUSED[kind])  # type: ignore[arg-type]
    with pytest.raises(UnsupportedVideo, match=message):
        probe(clip)
    with pytest.raises(UnsupportedVideo, match=message):
        next(read_frames(clip))


def test_interlaced_mpeg2_is_refused(tmp_path: Path) -> None:
    options = {"flags": "+ildct+ilme"}
    path = tmp_path / "a.mpg"
    make_clip(path, codec="mpeg2video", time_base=Fraction(1, 25), codec_options=options)
    with pytest.raises(UnsupportedVideo, match="interlaced"):
        probe(path)


def test_hidden_transparency_of_vp9_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedVideo, match="transparency"):
        probe(make_clip(tmp_path / "a.webm", codec="libvpx-vp9", pix_fmt="yuva420p"))


@pytest.mark.parametrize("codec", ["png", "mjpeg", "gif"])
def test_pictures_are_refused(codec: str, tmp_path: Path) -> None:
    pix_fmt = {"png": "rgb24", "mjpeg": "yuvj420p", "gif": "rgb8"}[codec]
    container = "gif" if codec == "gif" else "image2"
    path = make_clip(
        tmp_path / "a.bin", codec=codec, pix_fmt=pix_fmt, container=container, num_frames=1
    )
    with pytest.raises(UnsupportedVideo, match="image; accepted are"):
        probe(path)


def test_avif_is_refused(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4").read_bytes()
    (tmp_path / "b.mp4").write_bytes(clip.replace(b"ftypisom", b"ftypavif", 1))
    with pytest.raises(UnsupportedVideo, match="AVIF image"):
        probe(tmp_path / "b.mp4")


def test_formats_outside_the_list_are_refused(tmp_path: Path) -> None:
    for name in ("a.asf", "a.mxf"):
        path = make_clip(tmp_path / name, codec="mpeg2video", time_base=Fraction(1, 25))
        with pytest.raises(UnsupportedVideo, match="accepted are MP4"):
            probe(path)


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("The quick brown fox jumps over the lazy dog.\n" * 50)
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "no frames.y4m").write_bytes(b"YUV4MPEG2 W4 H4 F25:1 C444\n")
    expected = {
        "missing.mp4": "No such file",
        "empty.mp4": "is empty",
        "text.mp4": "not a video",
        "noise.mp4": "not a video",
        "no frames.y4m": "no frame",
        ".": "is a folder",
        "zero\0byte.mp4": "cannot be opened",
    }
    for name, message in expected.items():
        with pytest.raises(UnreadableVideo, match=message):
            probe(tmp_path / name)


@pytest.mark.parametrize("cover", [False, True])
def test_sound_alone_is_refused_even_with_a_cover_picture(cover: bool, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", audio=[Sound()])
    with av.open(str(source)) as clip, av.open(str(tmp_path / "b.mkv"), "w") as song:
        if cover:
            song.add_attachment("cover.png", "image/png", png_of(picture()))
        stream = song.add_stream_from_template(clip.streams.audio[0], opaque=True)
        for packet in clip.demux(clip.streams.audio[0]):
            if packet.size:
                packet.stream = stream
                song.mux(packet)
    with av.open(str(tmp_path / "b.mkv")) as song_file:
        assert len(song_file.streams.video) == cover
    with pytest.raises(UnreadableVideo, match="sound only"):
        probe(tmp_path / "b.mkv")


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableVideo, match="not a regular file"):
        probe(tmp_path / "pipe")


def test_an_unfinished_mp4_is_unreadable(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4").read_bytes()
    (tmp_path / "b.mp4").write_bytes(clip[: len(clip) // 2])
    with pytest.raises(UnreadableVideo, match="damaged beyond use"):
        probe(tmp_path / "b.mp4")


PROBE_WITH_LITTLE_MEMORY = """
import resource, sys
from hypernet.errors import UnreadableInput
from hypernet.video.pictures import png_of
from hypernet.video.probe import probe
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), used + (64 << 20)))
for path in sys.argv[1:]:
    try:
        probe(path)
    except UnreadableInput as error:
        print(str(error)[len(path):])
"""


def huge_matroska(path: Path, side: int) -> Path:
    data = make_clip(path, codec="ffv1", pix_fmt="bgr0", size=(272, 272), num_frames=2).read_bytes()
    old, new = struct.pack(">H", 272), struct.pack(">H", side)
    for field in (b"\xb0\x82", b"\xba\x82"):
        assert data.count(field + old) == 1
        data = data.replace(field + old, field + new)
    path.write_bytes(data)
    return path


def test_huge_frames_are_refused_before_they_are_allocated(tmp_path: Path) -> None:
    y4m = tmp_path / "a.y4m"
    with y4m.open("wb") as file:
        file.write(b"YUV4MPEG2 W16384 H16384 F25:1 C420\nFRAME\n")
        file.truncate(16384 * 16384 * 3 // 2)
    square = tmp_path / "b.y4m"
    with square.open("wb") as file:
        file.write(b"YUV4MPEG2 W8192 H8192 F25:1 C420\nFRAME\n")
        file.truncate(8192 * 8192 * 3 // 2)
    paths = [
        y4m,
        square,
        huge_matroska(tmp_path / "c.mkv", 16384),
        huge_matroska(tmp_path / "d.mkv", 8192),
    ]
    result = subprocess.run(
        [sys.executable, "-c", PROBE_WITH_LITTLE_MEMORY, *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split(";")[0].split(":")[0] for line in result.stdout.splitlines()] == [
        " is 16384x16384",
        " is 8192x8192",
        " has no valid frame size",
        " has no valid frame size",
    ]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts", "a.mpg", "a.flv"])
def test_truncated_anywhere_it_never_fails_otherwise(name: str, tmp_path: Path) -> None:
    codec = {"a.flv": "flv", "a.mp4": "libx264", "a.mkv": "libx264"}.get(name, "mpeg2video")
    clip = make_clip(
        tmp_path / name, codec=codec, time_base=Fraction(1, 25), num_frames=4, audio=[]
    )
    data = clip.read_bytes()
    for length in range(1, len(data), max(1, len(data) // 40)):
        clip.write_bytes(data[:length])
        try:
            info = probe(clip)
        except UnreadableInput:
            continue
        assert (info.width, info.height) == (64, 48)
