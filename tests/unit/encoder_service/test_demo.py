from __future__ import annotations

from pathlib import Path

import pytest

from encoder_service import demo
from hypernet.video.probe import probe
from tests.clips import make_clip


def test_the_made_up_clip_has_picture_and_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "WIDTH", 96)
    monkeypatch.setattr(demo, "HEIGHT", 54)
    monkeypatch.setattr(demo, "FRAMES", 10)
    info = probe(demo.make_clip(tmp_path / "clip.mp4"))
    assert (info.width, info.height, info.estimated_frames) == (96, 54, 10)
    assert info.has_audio


def test_x264_is_matched_from_above(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", num_frames=4, codec="ffv1", pix_fmt="bgr0")
    point = demo.x264_at(clip, 33.0)
    assert point.psnr_db >= 33.0
    better = demo.x264_at(clip, 38.0)
    assert better.psnr_db >= 38.0
    assert better.stream_bytes > point.stream_bytes
