from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from hypernet.codec import encode_file
from hypernet.errors import Cancelled, InvalidStream
from hypernet.plan import EncodeSettings
from tests.clips import make_clip
from workers import preview
from workers.preview import write_preview

SETTINGS = EncodeSettings(preset="debug", steps=1, device="cpu")


def stream_of(clip: Path) -> Path:
    stream = clip.with_suffix(".nrv")
    encode_file(clip, stream, SETTINGS)
    return stream


def times_in(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        base = container.streams.video[0].time_base or Fraction(1)
        return [(frame.pts or 0) * base for frame in container.decode(video=0)]


def test_the_beginning_as_h264(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "MAX_SECONDS", Fraction(1, 2))
    clip = make_clip(tmp_path / "clip.mkv", num_frames=20, size=(65, 47), codec="ffv1")
    write_preview(stream_of(clip), tmp_path / "preview.mp4")
    with av.open(str(tmp_path / "preview.mp4")) as container:
        (video,) = container.streams
        assert video.codec_context.name == "h264"
        frame = next(container.decode(video=0))
    assert (frame.width, frame.height, frame.format.name) == (64, 46, "yuv420p")
    times = times_in(tmp_path / "preview.mp4")
    expected = [time for time in times_in(clip) if time < Fraction(1, 2)]
    assert len(times) == len(expected) > 1
    assert all(abs(a - b) < Fraction(1, 500) for a, b in zip(times, expected, strict=True))


def test_large_frames_become_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "MAX_WIDTH", 32)
    clip = make_clip(tmp_path / "clip.mkv", num_frames=2, size=(64, 48))
    write_preview(stream_of(clip), tmp_path / "preview.mp4")
    with av.open(str(tmp_path / "preview.mp4")) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (32, 24)


def test_work_has_an_end(tmp_path: Path) -> None:
    ticks = iter(range(0, 1000, 3))
    clip = make_clip(tmp_path / "clip.mkv", num_frames=9)
    write_preview(stream_of(clip), tmp_path / "preview.mp4", clock=lambda: next(ticks))
    assert len(times_in(tmp_path / "preview.mp4")) == 2  # after 3 and 6 of 8 seconds


def test_a_worker_that_stops(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", num_frames=3)
    answers = iter([False, True])
    with pytest.raises(Cancelled):
        write_preview(stream_of(clip), tmp_path / "preview.mp4", should_stop=lambda: next(answers))


def test_what_is_no_stream(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"once upon a time")
    with pytest.raises(InvalidStream):
        write_preview(tmp_path / "text", tmp_path / "preview.mp4")
