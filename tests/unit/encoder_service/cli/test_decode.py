from __future__ import annotations

from pathlib import Path

import pytest

from hypernet.decoding import open_stream
from hypernet.video.probe import probe
from hypernet.video.reader import read_frames
from tests.unit.encoder_service.cli.conftest import NUM_FRAMES, Command


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.y4m"])
def test_every_kind_of_video(nrv: Command, stream: Path, tmp_path: Path, name: str) -> None:
    outcome = nrv("decode", stream, "-o", tmp_path / name)
    assert (outcome.status, outcome.out) == (0, "")
    assert len(list(read_frames(tmp_path / name))) == NUM_FRAMES
    assert probe(tmp_path / name).has_audio == (name != "out.y4m")
    assert ("the audio does not fit" in outcome.err) == (name == "out.y4m")


@pytest.mark.parametrize("name", ["pictures/", "pictures"])
def test_a_folder_of_pictures(nrv: Command, stream: Path, tmp_path: Path, name: str) -> None:
    assert nrv("decode", stream, "-o", f"{tmp_path}/{name}").status == 0
    pictures = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert pictures == [f"{number:06d}.png" for number in range(NUM_FRAMES)]


def test_lossless_output_holds_the_decoded_frames(
    nrv: Command, stream: Path, tmp_path: Path
) -> None:
    assert nrv("decode", stream, "-o", tmp_path / "out.mkv").status == 0
    with open_stream(stream) as opened:
        for written, decoded in zip(
            read_frames(tmp_path / "out.mkv"), opened.frames(), strict=True
        ):
            assert (written.rgb_HWC == decoded.rgb_HWC).all()


def test_pictures_are_numbered_as_the_frames_are(
    nrv: Command, stream: Path, tmp_path: Path
) -> None:
    assert nrv("decode", stream, "-o", f"{tmp_path}/out/", "--frames", "3:5").status == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "000003.png",
        "000004.png",
    ]


@pytest.mark.parametrize(
    ("text", "frames"),
    [("3:5", range(3, 5)), (":2", range(2)), ("10:", range(10, 12)), ("8:99", range(8, 12))],
)
def test_some_frames(nrv: Command, stream: Path, tmp_path: Path, text: str, frames: range) -> None:
    output = tmp_path / "out.mkv"
    assert nrv("decode", stream, "-o", output, "--frames", text).status == 0
    written = list(read_frames(output))
    with open_stream(stream) as opened:
        expected = list(opened.frames(frames.start, frames.stop))
    assert len(written) == len(frames)
    for got, wanted in zip(written, expected, strict=True):
        difference = got.rgb_HWC.astype(int) - wanted.rgb_HWC.astype(int)
        assert abs(difference).max() <= 1


def test_another_size(nrv: Command, stream: Path, tmp_path: Path) -> None:
    assert nrv("decode", stream, "-o", tmp_path / "out.mp4", "--size", "33x17").status == 0
    info = probe(tmp_path / "out.mp4")
    assert (info.width, info.height) == (33, 17)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--frames", "5:3"), "the range is empty"),
        (("--frames", "4"), "write A:B"),
        (("--frames", "12:"), "the stream ends at frame 11"),
        (("--frames", "40:50"), "the stream ends at frame 11"),
        (("--size", "0x3"), "write WxH"),
        (("--size", "64"), "write WxH"),
        (("--size", "9000x16"), "8192"),
        (("--device", "abacus"), "auto, cpu or cuda"),
    ],
)
def test_wrong_options(
    nrv: Command, stream: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    outcome = nrv("decode", stream, "-o", tmp_path / "out.mp4", *options)
    assert outcome.status == 2
    assert words in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_kind_of_output(nrv: Command, stream: Path, tmp_path: Path) -> None:
    outcome = nrv("decode", stream, "-o", tmp_path / "out.avi")
    assert outcome.status == 2
    assert ".mp4, .mkv, .y4m" in outcome.err


@pytest.mark.parametrize("kind", ["missing", "folder", "video", "empty", "short", "damaged"])
def test_streams_that_cannot_be_read(
    nrv: Command, clip: Path, stream: Path, tmp_path: Path, kind: str
) -> None:
    data = bytearray(stream.read_bytes())
    data[600] ^= 0x10
    sources = {
        "missing": tmp_path / "missing.nrv",
        "folder": tmp_path,
        "video": clip,
        "empty": _written(tmp_path / "empty.nrv", b""),
        "short": _written(tmp_path / "short.nrv", bytes(data[:500])),
        "damaged": _written(tmp_path / "damaged.nrv", bytes(data)),
    }
    kept = tmp_path / "out.mp4"
    kept.write_bytes(b"what was here before")
    for command in (("decode", sources[kind], "-o", kept), ("inspect", sources[kind], "--verify")):
        outcome = nrv(*command)
        assert (outcome.status, outcome.out) == (3, "")
        assert outcome.err.startswith("nrv: ")
    assert kept.read_bytes() == b"what was here before"
    assert list(tmp_path.glob(".*")) == []


def test_an_output_that_cannot_be_written(nrv: Command, stream: Path, tmp_path: Path) -> None:
    outcome = nrv("decode", stream, "-o", tmp_path / "no" / "out.mp4")
    assert outcome.status == 5
    assert "cannot write" in outcome.err


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
