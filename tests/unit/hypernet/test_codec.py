from __future__ import annotations

import dataclasses
import tempfile
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypernet import codec, segment_encoding
from hypernet.codec import EncodeProgress, assemble, copy_audio, encode_file, encode_segment
from hypernet.decoding import open_stream
from hypernet.errors import (
    Cancelled,
    EncodeFailed,
    InvalidSettings,
    OutputNotWritable,
    UnreadableVideo,
)
from hypernet.evaluation.metrics import compare_videos
from hypernet.plan import EncodeSettings, Plan, make_plan
from hypernet.result import EncodeResult, summarise
from hypernet.video.audio import extract_audio
from hypernet.video.reader import read_frames
from tests.clips import Picture, Sound, make_clip, moving


def debug(**changes: Any) -> EncodeSettings:
    usual: dict[str, Any] = {"preset": "debug", "steps": 3, "device": "cpu"}
    return EncodeSettings(**(usual | changes))


def raw_clip(path: Path, frames: list[Picture]) -> Path:
    """A lossless clip; rawvideo takes any size."""
    return make_clip(path, frames=frames, codec="rawvideo", pix_fmt="rgb24")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("codec")


@pytest.fixture(scope="module")
def clip(folder: Path) -> Path:
    """Three scenes, so three segments, with sound and a variable frame rate."""
    frames = [p for scene in (0, 3, 4) for p in moving(5, (50, 34), scene=scene)]
    pts = [n * 512 + (n % 3) * 100 for n in range(15)]
    return make_clip(folder / "clip.mp4", frames=frames, pts=pts, audio=[Sound(seconds=0.6)])


@pytest.fixture(scope="module")
def encoded(folder: Path, clip: Path) -> tuple[Path, EncodeResult]:
    output = folder / "clip.nrv"
    return output, encode_file(clip, output, debug())


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go during one test."""
    folder = tmp_path / "spool"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_the_result_tells_the_truth(clip: Path, encoded: tuple[Path, EncodeResult]) -> None:
    output, result = encoded
    audio = extract_audio(clip)
    assert audio is not None
    assert result.source_bytes == clip.stat().st_size
    assert result.stream_bytes == output.stat().st_size
    assert result.video_bytes == result.stream_bytes - len(audio)
    assert (result.frames, result.width, result.height) == (15, 50, 34)
    assert result.bits_per_pixel == pytest.approx(8 * result.video_bytes / (15 * 50 * 34))
    assert result.refinement_steps == 3 * 3
    assert (result.preset, result.decoder, result.device) == ("debug", "nerv", "cpu")
    assert result.smaller_than_source == (result.stream_bytes < result.source_bytes)
    assert (result.target_met, result.decode_file, result.predictor) == (None, None, None)
    assert result.encode_seconds > 0
    assert result.decode_frames_per_second > 0


def test_the_quality_is_that_of_the_written_file(
    clip: Path, encoded: tuple[Path, EncodeResult]
) -> None:
    output, result = encoded
    with open_stream(output) as stream:
        measured = compare_videos(
            (frame.rgb_HWC for frame in read_frames(clip)),
            (frame.rgb_HWC for frame in stream.frames()),
            ms_ssim_every=0,
            with_vmaf=False,
        )
    assert result.psnr_db == pytest.approx(measured.psnr_db, abs=1e-6)
    assert result.psnr_y_db == pytest.approx(measured.psnr_y_db, abs=1e-6)


def test_times_and_sound_come_back_exactly(clip: Path, encoded: tuple[Path, EncodeResult]) -> None:
    with open_stream(encoded[0]) as stream:
        assert [f.pts for f in stream.frames()] == [f.pts for f in read_frames(clip)]
        assert stream.reader.audio() == extract_audio(clip)
        assert stream.info.time_base == Fraction(1, 12800)


def test_segments_encoded_one_by_one_make_the_same_file(
    clip: Path, encoded: tuple[Path, EncodeResult], tmp_path: Path
) -> None:
    plan = Plan.from_json(make_plan(clip, debug()).to_json())
    numbers = range(len(plan.segments))
    assert len(numbers) == 3
    finished = {n: encode_segment(clip, plan, n, debug()) for n in reversed(numbers)}
    spooled = tmp_path / "segment"
    spooled.write_bytes(finished[1].payload)
    payloads: list[bytes | Path] = [finished[0].payload, spooled, finished[2].payload]
    audio = copy_audio(clip)
    assert assemble(plan, payloads, audio, tmp_path / "again.nrv") == plan
    assert (tmp_path / "again.nrv").read_bytes() == encoded[0].read_bytes()
    assert encoded[1].video_bytes + audio.num_bytes == encoded[1].stream_bytes
    assert [finished[n].num_frames for n in numbers] == [5, 5, 5]
    assert sum(finished[n].psnr_db for n in numbers) / 3 == pytest.approx(encoded[1].psnr_db)


def test_sound_that_cannot_be_copied_is_warned_of(tmp_path: Path) -> None:
    sounds = [Sound(codec="adpcm_ima_wav"), Sound(codec="mp3")]
    clip = make_clip(
        tmp_path / "clip.avi", num_frames=10, time_base=Fraction(1, 25), codec="ffv1", audio=sounds
    )
    result = encode_file(clip, tmp_path / "clip.nrv", debug(steps=1))
    assert result.warnings[-1] == "audio track 1 (adpcm_ima_wav) cannot be copied"
    assert result.video_bytes < result.stream_bytes


def test_steps_and_seed_decide_the_bytes(
    clip: Path, encoded: tuple[Path, EncodeResult], tmp_path: Path
) -> None:
    encode_file(clip, tmp_path / "same.nrv", debug())
    encode_file(clip, tmp_path / "other.nrv", debug(seed=1))
    assert (tmp_path / "same.nrv").read_bytes() == encoded[0].read_bytes()
    assert (tmp_path / "other.nrv").read_bytes() != encoded[0].read_bytes()


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(width=st.integers(1, 97), height=st.integers(1, 97), num_frames=st.integers(1, 4))
def test_any_size_and_length(tmp_path: Path, width: int, height: int, num_frames: int) -> None:
    clip = raw_clip(tmp_path / "clip.nut", moving(num_frames, (width, height)))
    result = encode_file(clip, tmp_path / "clip.nrv", debug(steps=2))
    assert (result.frames, result.width, result.height) == (num_frames, width, height)
    with open_stream(tmp_path / "clip.nrv") as stream:
        shapes = [frame.rgb_HWC.shape for frame in stream.frames()]
    assert shapes == [(height, width, 3)] * num_frames


@pytest.mark.parametrize(("size", "num_frames"), [((1, 1), 1), ((1, 1), 3), ((64, 48), 1)])
def test_tiny_videos(tmp_path: Path, size: tuple[int, int], num_frames: int) -> None:
    clip = raw_clip(tmp_path / "clip.nut", moving(num_frames, size))
    result = encode_file(clip, tmp_path / "clip.nrv", debug())
    assert (result.frames, result.width, result.height) == (num_frames, *size)


@pytest.mark.parametrize("num_frames", [3, 1])
def test_the_default_shows_more_of_a_tiny_clip_than_its_colour(
    tmp_path: Path, num_frames: int
) -> None:
    pictures = np.stack(moving(num_frames, (64, 48)))
    colour = pictures.mean(axis=(0, 1, 2)).round().astype(np.uint8)
    flat = compare_videos(
        pictures, np.broadcast_to(colour, pictures.shape), ms_ssim_every=0, with_vmaf=False
    ).psnr_db
    clip = raw_clip(tmp_path / "clip.nut", list(pictures))
    settings = EncodeSettings(preset="nerv-s", device="cpu")
    decoded = encode_file(clip, tmp_path / "clip.nrv", settings).psnr_db
    assert decoded is not None
    assert decoded > flat + 6


def test_steps_have_a_default(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", num_frames=4)
    assert encode_file(clip, tmp_path / "clip.nrv", debug(steps=None)).refinement_steps >= 1


def test_quality_buys_bytes(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", num_frames=4, size=(176, 144))
    small, large = (
        encode_file(clip, tmp_path / "clip.nrv", debug(quality=quality)).video_bytes
        for quality in (1, 100)
    )
    assert small < large


def test_a_target_is_met_or_reported_missed(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", num_frames=4)
    low = encode_file(clip, tmp_path / "low.nrv", debug(target_psnr_db=5.0, steps=30))
    assert low.target_met is True
    assert low.refinement_steps < 30
    high = encode_file(clip, tmp_path / "high.nrv", debug(target_psnr_db=200.0))
    assert high.target_met is False


def test_a_budget_too_small_for_one_step_still_gives_a_stream(clip: Path, tmp_path: Path) -> None:
    settings = debug(steps=None, budget_seconds=1e-6)
    result = encode_file(clip, tmp_path / "clip.nrv", settings)
    assert result.refinement_steps == 0
    assert result.frames == 15


def test_a_budget_is_shared_by_the_frames_that_are_left(clip: Path) -> None:
    settings, now = debug(budget_seconds=1e6), time.monotonic()
    plan = make_plan(clip, settings)
    run = codec._FileRun(clip, plan, settings, started=now, on_progress=None, should_stop=None)
    shares = [run._seconds_for(segment) / 1e6 for segment in plan.segments]
    assert shares == pytest.approx([1 / 3, 1 / 2, 1], rel=1e-3)


def test_progress_moves_over_all_frames(clip: Path, tmp_path: Path) -> None:
    seen: list[EncodeProgress] = []
    encode_file(clip, tmp_path / "clip.nrv", debug(), on_progress=seen.append)
    done = [progress.frames_done for progress in seen]
    assert len(seen) == 9
    assert done == sorted(done)
    assert done[-1] == 15
    assert {(p.frames_total, p.num_segments) for p in seen} == {(15, 3)}
    assert all(p.eta_seconds >= 0 and p.bits_per_pixel > 0 for p in seen)
    assert seen[-1].eta_seconds == 0


def test_cancelling_leaves_nothing(clip: Path, tmp_path: Path, spool: Path) -> None:
    output = tmp_path / "clip.nrv"
    output.write_bytes(b"what was here before")
    seen: list[EncodeProgress] = []
    with pytest.raises(Cancelled):
        encode_file(
            clip, output, debug(), on_progress=seen.append, should_stop=lambda: len(seen) == 7
        )
    assert seen[-1].segment == 2
    assert output.read_bytes() == b"what was here before"
    assert list(spool.iterdir()) == []
    assert sorted(tmp_path.iterdir()) == [output, spool]


def test_nothing_temporary_remains(clip: Path, tmp_path: Path, spool: Path) -> None:
    encode_file(clip, tmp_path / "clip.nrv", debug())
    assert list(spool.iterdir()) == []
    assert sorted(tmp_path.iterdir()) == [tmp_path / "clip.nrv", spool]


def test_the_source_is_never_overwritten(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", num_frames=2)
    before = clip.read_bytes()
    link = tmp_path / "link.nrv"
    link.symlink_to(clip)
    for output in (clip, link, tmp_path / "." / "clip.mp4"):
        with pytest.raises(InvalidSettings, match="input and output are both"):
            encode_file(clip, output, debug())
    assert clip.read_bytes() == before


def test_an_output_that_cannot_be_written_is_noticed_first(clip: Path, tmp_path: Path) -> None:
    seen: list[EncodeProgress] = []
    for output in (tmp_path, tmp_path / "missing" / "clip.nrv", clip / "clip.nrv"):
        with pytest.raises(OutputNotWritable, match="cannot write"):
            encode_file(clip, output, debug(), on_progress=seen.append)
    assert seen == []


def test_a_name_that_is_too_long_cannot_be_written(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputNotWritable, match="cannot write"):
        encode_file(clip, tmp_path / ("n" * 300 + ".nrv"), debug())


def test_a_source_that_changed_is_noticed(clip: Path, tmp_path: Path) -> None:
    plan = make_plan(clip, debug())
    shorter = make_clip(tmp_path / "shorter.mp4", num_frames=7, size=(50, 34))
    for segment in (1, 2):
        with pytest.raises(UnreadableVideo, match="changed while it was encoded"):
            encode_segment(shorter, plan, segment, debug())


def test_bytes_that_do_not_decode_to_the_frames_are_not_accepted(clip: Path) -> None:
    plan = make_plan(clip, debug())
    payload = encode_segment(clip, plan, 0, debug()).payload
    frames = segment_encoding.collect_frames(read_frames(clip), plan.segments[0])
    pixels = frames.frames_THWC
    longer = replace(
        frames, pts=(*frames.pts, 10**6), frames_THWC=np.concatenate([pixels, pixels[-1:]])
    )
    shifted = replace(frames, pts=tuple(pts + 1 for pts in frames.pts))
    for wrong in (shifted, longer):
        with pytest.raises(EncodeFailed, match="does not decode"):
            segment_encoding._verified(payload, wrong, plan, 3, 0.0)
    assert segment_encoding._verified(payload, frames, plan, 3, 0.0).refinement_steps == 3


def test_no_loss_at_all_is_null_and_meets_any_target(clip: Path) -> None:
    settings = debug(target_psnr_db=200.0)
    plan = make_plan(clip, settings)
    exact = replace(encode_segment(clip, plan, 0, settings), psnr_db=100.0, psnr_y_db=100.0)
    result = summarise(
        plan,
        settings,
        [exact] * 3,
        source_bytes=2,
        stream_bytes=1,
        audio_bytes=0,
        encode_seconds=1.0,
    )
    assert (result.psnr_db, result.psnr_y_db, result.target_met) == (None, None, True)


def test_results_are_plain_json_values(encoded: tuple[Path, EncodeResult]) -> None:
    values = dataclasses.asdict(encoded[1])
    assert values.pop("warnings") == ()
    assert all(value is None or isinstance(value, str | int | float) for value in values.values())
