from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hypernet.presets import PRESETS
from tests.unit.encoder_service.cli.bad_videos import (
    READABLE,
    UNREADABLE,
    cut_short,
    damaged_in_the_middle,
    mp4_cut_short,
    mp4_damaged_in_the_middle,
)
from tests.unit.encoder_service.cli.conftest import NUM_FRAMES, Command

FIELDS = {
    "source_bytes",
    "stream_bytes",
    "video_bytes",
    "bits_per_pixel",
    "frames",
    "width",
    "height",
    "fps",
    "psnr_db",
    "psnr_y_db",
    "encode_seconds",
    "decode_frames_per_second",
    "preset",
    "decoder",
    "decode_file",
    "predictor",
    "refinement_steps",
    "target_met",
    "smaller_than_source",
    "device",
    "threads",
    "warnings",
}
QUICK = ("--preset", "debug", "--steps", 2, "--device", "cpu")


def test_json_is_one_object_with_every_field(nrv: Command, clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "clip.nrv"
    outcome = nrv("encode", clip, "-o", output, *QUICK, "--json")
    fields = outcome.json()
    assert (outcome.status, outcome.err) == (0, "")
    assert fields.keys() == FIELDS
    assert fields["stream_bytes"] == output.stat().st_size
    assert fields["source_bytes"] == clip.stat().st_size
    assert (fields["frames"], fields["width"], fields["height"]) == (NUM_FRAMES, 64, 48)
    assert fields["warnings"] == []
    assert (fields["fps"], fields["refinement_steps"], fields["target_met"]) == (25.0, 2, None)


def test_people_get_one_line(nrv: Command, clip: Path, tmp_path: Path) -> None:
    outcome = nrv("encode", clip, "-o", tmp_path / "clip.nrv", *QUICK)
    assert outcome.status == 0
    assert outcome.out.count("\n") == 1
    assert all(word in outcome.out for word in ("clip.nrv", "bytes", "dB", "bits per pixel"))


@pytest.mark.parametrize("make", UNREADABLE, ids=lambda make: make.__name__)
def test_what_cannot_be_read(nrv: Command, tmp_path: Path, make: Callable[[Path], Path]) -> None:
    output = tmp_path / "out.nrv"
    output.write_bytes(b"what was here before")
    outcome = nrv("encode", make(tmp_path), "-o", output, *QUICK, "--json")
    assert (outcome.status, outcome.out) == (3, "")
    assert outcome.err.startswith("nrv: ")
    assert UNREADABLE[make] in outcome.err
    assert output.read_bytes() == b"what was here before"
    assert [path for path in tmp_path.iterdir() if path.suffix == ".part"] == []


@pytest.mark.parametrize("make", READABLE, ids=lambda make: make.__name__)
def test_what_can_be_read_as_far_as_it_goes(
    nrv: Command, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    output = tmp_path / "out.nrv"
    fields = nrv("encode", make(tmp_path), "-o", output, *QUICK, "--json").json()
    expected = {"one_frame": {1}, "three_frames": {3}, "one_pixel": {2}, "zero_rate": {3}}
    assert fields["frames"] in expected.get(make.__name__, set(range(5, 41)))
    assert nrv("inspect", output, "--verify").status == 0


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (mp4_cut_short, "it ends early"),
        (cut_short, "it ends early"),
        (mp4_damaged_in_the_middle, "damaged packets"),
        (damaged_in_the_middle, "gaps in time: 1"),
    ],
)
def test_what_was_lost_is_said(
    nrv: Command, tmp_path: Path, make: Callable[[Path], Path], reason: str
) -> None:
    outcome = nrv("encode", make(tmp_path), "-o", tmp_path / "out.nrv", *QUICK, "--json")
    fields = outcome.json()
    assert outcome.status == 0
    (warning,) = fields["warnings"]
    assert outcome.err == f"nrv: warning: {warning}\n"
    assert warning.startswith(f"{fields['frames']} frames of the source could be read")
    assert f"about {40 - fields['frames']} are missing" in warning
    assert reason in warning


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--preset", "best"), list(PRESETS)),
        (("--budget", 0), ["budget", "more than 0"]),
        (("--budget", -3), ["budget"]),
        (("--steps", 0), ["steps"]),
        (("--quality", 0), ["quality", "1..100"]),
        (("--quality", 101), ["quality", "1..100"]),
        (("--target-psnr", 0), ["target PSNR"]),
        (("--target-psnr", "nan"), ["target PSNR"]),
        (("--seed", -1), ["seed"]),
        (("--device", "abacus"), ["device", "auto, cpu or cuda"]),
        (("--quality", "high"), ["--quality", "integer"]),
        (("--colour", "red"), ["--colour"]),
    ],
)
def test_wrong_options(
    nrv: Command, clip: Path, tmp_path: Path, options: tuple[object, ...], words: list[str]
) -> None:
    outcome = nrv("encode", clip, "-o", tmp_path / "out.nrv", *options)
    assert (outcome.status, outcome.out) == (2, "")
    assert all(word in outcome.err for word in words)
    assert list(tmp_path.iterdir()) == []


def test_an_output_is_needed(nrv: Command, clip: Path) -> None:
    outcome = nrv("encode", clip)
    assert outcome.status == 2
    assert "--output" in outcome.err


def test_input_and_output_must_differ(nrv: Command, clip: Path) -> None:
    before = clip.read_bytes()
    outcome = nrv("encode", clip, "-o", clip, *QUICK)
    assert outcome.status == 2
    assert "name another output" in outcome.err
    assert clip.read_bytes() == before


def test_outputs_that_cannot_be_written(nrv: Command, clip: Path, tmp_path: Path) -> None:
    for output in (tmp_path, tmp_path / "no" / "out.nrv", clip / "out.nrv", "/proc/out.nrv"):
        outcome = nrv("encode", clip, "-o", output, *QUICK, "--json")
        assert (outcome.status, outcome.out) == (5, "")
        assert "cannot write" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_missed_target_is_no_failure(nrv: Command, clip: Path, tmp_path: Path) -> None:
    impossible = ("encode", clip, "-o", tmp_path / "out.nrv", *QUICK, "--target-psnr", 200)
    outcome = nrv(*impossible, "--json")
    assert (outcome.status, outcome.json()["target_met"]) == (0, False)
    spoken = nrv(*impossible)
    assert spoken.status == 0
    assert "the target PSNR was not reached" in spoken.err


def test_a_target_within_reach_is_met(nrv: Command, clip: Path, tmp_path: Path) -> None:
    fields = nrv(
        "encode", clip, "-o", tmp_path / "out.nrv", *QUICK, "--target-psnr", 3, "--json"
    ).json()
    assert fields["target_met"] is True
