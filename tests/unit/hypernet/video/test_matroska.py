"""Walking Matroska elements, and giving a finished file its display shape."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import pytest

from hypernet.video.audio import extract_audio
from hypernet.video.matroska import SEGMENT, elements, set_display_aspect
from hypernet.video.probe import probe
from hypernet.video.reader import read_frames
from tests.clips import Sound, make_clip
from tests.unit.hypernet.video.containers import element


def ffv1(path: Path, *, rotation: int = 0, audio: bool = False) -> Path:
    return make_clip(
        path,
        codec="ffv1",
        pix_fmt="bgr0",
        num_frames=3,
        rotation=rotation,
        audio=[Sound()] if audio else [],
        container_options={"write_crc32": "0"},
    )


def test_elements() -> None:
    data = element(0xEC, b"ab") + element(0x1549A966, element(0xEC, b""))
    found = list(elements(io.BytesIO(data), 0, len(data)))
    assert [kind for kind, _, _ in found] == [0xEC, 0x1549A966]
    assert [data[start:end] for _, start, end in found] == [b"ab", element(0xEC, b"")]


def test_an_element_of_unknown_size_reaches_to_the_end() -> None:
    data = SEGMENT.to_bytes(4, "big") + b"\x01" + b"\xff" * 7 + b"rest"
    assert list(elements(io.BytesIO(data), 0, len(data))) == [(SEGMENT, 12, len(data))]


@pytest.mark.parametrize("data", [b"", b"\x00\x00", b"\xec", b"\x1a\x45", b"\xec\x00", b"\x0f\x80"])
def test_garbage_ends_the_walk(data: bytes) -> None:
    assert list(elements(io.BytesIO(data), 0, len(data))) == []


@pytest.mark.parametrize("rotation", [0, 90])
@pytest.mark.parametrize("audio", [False, True])
@pytest.mark.parametrize("pixel_aspect", [Fraction(4, 3), Fraction(1280, 1281), Fraction(1, 65535)])
def test_the_display_shape(
    pixel_aspect: Fraction, audio: bool, rotation: int, tmp_path: Path
) -> None:
    clip = ffv1(tmp_path / "a.mkv", rotation=rotation, audio=audio)
    before = [frame.rgb_HWC.tobytes() for frame in read_frames(clip)]
    size, sound = clip.stat().st_size, extract_audio(clip)
    assert (sound is not None) == audio
    assert set_display_aspect(clip, pixel_aspect * 64 / 48)
    assert clip.stat().st_size == size
    info = probe(clip)
    assert info.pixel_aspect == pixel_aspect
    assert (info.rotation, info.has_audio) == (rotation, audio)
    assert [frame.rgb_HWC.tobytes() for frame in read_frames(clip)] == before
    assert extract_audio(clip) == sound


def test_it_can_be_changed_again(tmp_path: Path) -> None:
    clip = ffv1(tmp_path / "a.mkv")
    for aspect in (Fraction(2), Fraction(16, 9)):
        assert set_display_aspect(clip, aspect)
        assert probe(clip).pixel_aspect == aspect * 48 / 64


def test_without_room_nothing_is_changed(tmp_path: Path) -> None:
    video = element(0xE0, element(0xB0, b"\x40") + element(0xBA, b"\x30"))
    tracks = element(0x1654AE6B, element(0xAE, video))
    path = tmp_path / "a.mkv"
    for data in (b"", b"noise", element(SEGMENT, b""), element(SEGMENT, tracks)):
        path.write_bytes(data)
        assert not set_display_aspect(path, Fraction(2))
        assert path.read_bytes() == data
