from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from encoder_service.errors import StorageError, StorageFull
from encoder_service.settings import WorkerSettings
from hypernet.errors import (
    Cancelled,
    HypernetError,
    UnreadableInput,
    UnreadableVideo,
    UnsupportedVideo,
)
from hypernet.plan import EncodeSettings, Survey, make_plan, plan_of
from hypernet.video.audio import extract_audio
from hypernet.video.reader import Frame, read_frames
from hypernet.video.segments import SegmentRange, plan_segments
from tests.clips import Sound, make_clip, moving, picture
from tests.unit.workers.reading import hostile
from workers.reading.reader import OverLimit, ReaderLost, SandboxedReader

WHOLE = SegmentRange(first_frame=0, num_frames=24, first_pts=0)


def never() -> bool:
    return False


@pytest.fixture(scope="module")
def reader() -> Iterator[SandboxedReader]:
    with SandboxedReader(WorkerSettings()) as reader:
        yield reader


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes and sound."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    frames = [*moving(12), *moving(12, scene=3)]
    return make_clip(path, frames=frames, audio=[Sound()])


def child_of(reader: SandboxedReader) -> psutil.Process:
    assert reader._process is not None
    return psutil.Process(reader._process.pid)


def read(reader: SandboxedReader, path: Path) -> list[Frame]:
    return list(reader.frames(path, WHOLE))


# What it reads


@pytest.mark.parametrize("preset", ["debug", "nerv-s", "fast", "balanced"])
def test_a_plan_is_what_it_would_be_without_a_child(
    reader: SandboxedReader, clip: Path, preset: str
) -> None:
    settings = EncodeSettings(preset=preset, quality=60)
    assert plan_of(Survey.from_fields(reader.survey(clip, 64, never)), settings) == make_plan(
        clip, settings
    )


def test_frames_are_what_they_would_be_without_a_child(reader: SandboxedReader, clip: Path) -> None:
    for segment in plan_segments(clip):
        ours = list(reader.frames(clip, segment))
        stop = segment.first_frame + segment.num_frames
        theirs = list(read_frames(clip, segment.first_frame, stop))
        assert [frame.pts for frame in ours] == [frame.pts for frame in theirs]
        for frame, other in zip(ours, theirs, strict=True):
            assert np.array_equal(frame.rgb_HWC, other.rgb_HWC)


def test_sound_is_what_it_would_be_without_a_child(
    reader: SandboxedReader, clip: Path, tmp_path: Path
) -> None:
    assert reader.copy_audio(clip, tmp_path / "audio") == ()
    assert (tmp_path / "audio").read_bytes() == extract_audio(clip)
    silent = make_clip(tmp_path / "silent.mp4", num_frames=1)
    assert reader.copy_audio(silent, tmp_path / "audio") == ()
    assert (tmp_path / "audio").read_bytes() == b""


def test_sound_needs_a_place(reader: SandboxedReader, clip: Path) -> None:
    with pytest.raises(StorageFull):
        reader.copy_audio(clip, Path("/dev/full"))
    with pytest.raises(StorageError):
        reader.copy_audio(clip, clip / "audio")


def test_sound_that_is_left_out_is_named(reader: SandboxedReader, tmp_path: Path) -> None:
    sounds = [Sound(codec="adpcm_ima_wav")]
    clip = make_clip(tmp_path / "clip.avi", num_frames=2, codec="ffv1", audio=sounds)
    (said,) = reader.copy_audio(clip, tmp_path / "audio")
    assert "adpcm_ima_wav" in said


def test_warnings_come_along(reader: SandboxedReader, tmp_path: Path) -> None:
    cut = tmp_path / "cut.ts"
    whole = make_clip(tmp_path / "whole.ts", num_frames=50).read_bytes()
    cut.write_bytes(whole[: len(whole) // 2] + bytes(2000) + whole[len(whole) // 2 + 2000 :])
    settings = EncodeSettings(preset="debug")
    plan = plan_of(Survey.from_fields(reader.survey(cut, 64, never)), settings)
    assert plan.warnings == make_plan(cut, settings).warnings
    assert plan.warnings != ()


def test_one_child_reads_everything(reader: SandboxedReader, clip: Path, tmp_path: Path) -> None:
    reader.survey(clip, 64, never)
    child = child_of(reader)
    assert len(read(reader, clip)) == 24
    reader.copy_audio(clip, tmp_path / "audio")
    first, *_ = plan_segments(clip)
    frames = reader.frames(clip, first)
    for _ in range(first.num_frames):
        next(frames)
    assert child_of(reader) == child  # as nobody need ask for a frame beyond the last


def test_a_child_that_met_a_bad_file_is_replaced(
    reader: SandboxedReader, clip: Path, tmp_path: Path
) -> None:
    reader.survey(clip, 64, never)
    child = child_of(reader)
    with pytest.raises(UnreadableInput):
        read(reader, hostile.playlist(tmp_path / "list.mp4"))
    assert not child.is_running()
    assert len(read(reader, clip)) == 24


# What is refused


@pytest.mark.parametrize(
    "make",
    [
        hostile.huge_picture,
        hostile.many_frames,
        hostile.playlist,
        hostile.concat,
        hostile.external_reference,
        hostile.noise_in_a_container,
    ],
)
def test_hostile_files_are_refused_with_a_reason(
    reader: SandboxedReader, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    path = make(tmp_path / "hostile.mp4")
    with pytest.raises(UnreadableInput, match=r"hostile\.mp4"):
        reader.survey(path, 64, never)


@pytest.mark.parametrize("suffix", [".mp4", ".h264"])  # claims its length, or does not
def test_videos_that_are_too_long_are_refused(tmp_path: Path, suffix: str) -> None:
    clip = make_clip(tmp_path / f"clip{suffix}", num_frames=12)
    with (
        SandboxedReader(WorkerSettings(source_frames=11)) as reader,
        pytest.raises(UnsupportedVideo, match="12 frames; at most 11"),
    ):
        reader.survey(clip, 64, never)
    with SandboxedReader(WorkerSettings(source_frames=12)) as reader:
        assert reader.survey(clip, 64, never)["segments"]


def test_videos_of_too_many_cuts_are_refused(clip: Path) -> None:
    with (
        SandboxedReader(WorkerSettings(source_segments=1)) as reader,
        pytest.raises(UnsupportedVideo, match="2 segments"),
    ):
        reader.survey(clip, 64, never)


# When the child is lost


def test_a_child_that_is_killed_is_replaced(reader: SandboxedReader, clip: Path) -> None:
    big = make_clip(clip.with_name("big.mkv"), frames=[picture(0, (640, 480))] * 9, codec="ffv1")
    reader.survey(big, 64, never)
    child = child_of(reader)
    frames = reader.frames(big, WHOLE)
    next(frames)
    child.kill()
    with pytest.raises(ReaderLost, match="SIGKILL"):
        list(frames)
    assert len(read(reader, clip)) == 24
    assert child_of(reader) != child


def test_a_child_that_died_while_idle_is_replaced(reader: SandboxedReader, clip: Path) -> None:
    reader.survey(clip, 64, never)
    child = child_of(reader)
    child.kill()
    child.wait()
    assert len(read(reader, clip)) == 24


def test_a_crash_is_the_fault_of_the_file(reader: SandboxedReader, tmp_path: Path) -> None:
    large = make_clip(tmp_path / "large.mp4", num_frames=24, size=(320, 240))
    reader.survey(large, 64, never)
    child = child_of(reader)
    frames = reader.frames(large, WHOLE)
    next(frames)  # 24 frames do not fit into the pipe, so the child is still at work
    child.send_signal(signal.SIGSEGV)
    with pytest.raises(UnreadableInput, match=r"crash \(SIGSEGV\)"):
        list(frames)


def test_a_child_that_hangs_is_given_up(clip: Path) -> None:
    with SandboxedReader(WorkerSettings(reading_silent_seconds=0.3)) as reader:
        reader.survey(clip, 64, never)
        child = child_of(reader)
        child.suspend()
        with pytest.raises(OverLimit, match=r"nothing for 0\.3 s"):
            read(reader, clip)
        assert not child.is_running()
    with SandboxedReader(WorkerSettings()) as reader:
        assert len(read(reader, clip)) == 24


def test_memory_has_a_limit(tmp_path: Path, clip: Path) -> None:
    frames = [np.zeros((2048, 4096, 3), np.uint8)]
    fast = {"preset": "ultrafast"}
    big = make_clip(tmp_path / "big.mp4", frames=frames, codec="libx264", codec_options=fast)
    with SandboxedReader(WorkerSettings(reading_bytes=100 << 20)) as reader:
        with pytest.raises(UnreadableVideo):  # OverLimit, unless FFmpeg hides its want of memory
            reader.survey(big, 64, never)
        assert len(read(reader, clip)) == 24
    with SandboxedReader(WorkerSettings()) as reader:
        assert reader.survey(big, 64, never)["segments"]


def test_what_takes_too_much_memory_says_so(tmp_path: Path) -> None:
    long = make_clip(tmp_path / "long.mp4", num_frames=1, audio=[Sound(codec="flac", seconds=30)])
    with (
        SandboxedReader(WorkerSettings(reading_bytes=4 << 20)) as reader,
        pytest.raises(OverLimit, match="more than 4 MiB"),
    ):
        reader.copy_audio(long, tmp_path / "audio")


def test_processor_time_has_a_limit(tmp_path: Path) -> None:
    frames = [np.zeros((1080, 1920, 3), np.uint8)] * 10
    fast = {"preset": "ultrafast"}
    clip = make_clip(tmp_path / "clip.h264", frames=frames, codec="libx264", codec_options=fast)
    clip.write_bytes(clip.read_bytes() * 60)
    with (
        SandboxedReader(WorkerSettings(reading_cpu_seconds=0)) as reader,
        pytest.raises(OverLimit, match="processor time"),
    ):
        reader.survey(clip, 64, never)


def test_an_answer_that_nobody_wants_ends_with_its_child(
    reader: SandboxedReader, clip: Path
) -> None:
    reader.survey(clip, 64, never)
    child = child_of(reader)
    frames = reader.frames(clip, WHOLE)
    next(frames)
    del frames
    assert not child.is_running()
    assert len(read(reader, clip)) == 24


def test_a_survey_can_be_cancelled(reader: SandboxedReader, clip: Path) -> None:
    with pytest.raises(Cancelled):
        reader.survey(clip, 64, lambda: True)
    assert reader.survey(clip, 64, never)["segments"]


# What the child may do


def test_the_child_knows_no_secret(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NRV_STORAGE_SECRET_KEY", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD"):
        monkeypatch.setenv(name, "hush")
    with SandboxedReader(WorkerSettings()) as reader:
        reader.survey(clip, 64, never)
        assert "hush" not in child_of(reader).environ().values()


def test_the_child_ends_with_its_parent(clip: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path;"
        "from encoder_service.settings import WorkerSettings;"
        "from workers.reading.reader import SandboxedReader;"
        "reader = SandboxedReader(WorkerSettings());"
        f"reader.survey(Path({str(clip)!r}), 64, lambda: False);"
        "print(reader._process.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    psutil.wait_procs([child], timeout=20)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_refusals_are_errors_of_the_codec(reader: SandboxedReader, tmp_path: Path) -> None:
    with pytest.raises(HypernetError) as caught:
        reader.survey(tmp_path / "missing.mp4", 64, never)
    assert caught.value.code == "video.unreadable"
