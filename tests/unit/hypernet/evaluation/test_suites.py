from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hypernet.errors import InvalidSettings, UnreadableInput
from hypernet.evaluation.codecs import read_rgb
from hypernet.evaluation.suites import find_clips, prepared
from tests.clips import make_clip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.mp4", "a.MKV", "notes.txt", "c.y4m"):
        (tmp_path / name).touch()
    return tmp_path


def test_a_folder_is_a_suite_of_its_videos_in_order(folder: Path) -> None:
    assert [path.name for path in find_clips(str(folder))] == ["a.MKV", "b.mp4", "c.y4m"]
    assert [path.name for path in find_clips(str(folder), ["c.", "a."])] == ["a.MKV", "c.y4m"]


def test_named_suites_lie_in_the_data_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NRV_DATA", str(folder))
    (folder / "val").mkdir()
    (folder / "val" / "clip.mp4").touch()

    assert find_clips("val") == [folder / "val" / "clip.mp4"]
    with pytest.raises(InvalidSettings, match="standard is not a folder"):
        find_clips("standard")


def test_missing_suites_say_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NRV_DATA", raising=False)
    (folder / "empty").mkdir()

    with pytest.raises(InvalidSettings, match=r"\$NRV_DATA, which is not set"):
        find_clips("val")
    with pytest.raises(InvalidSettings, match="holds no video"):
        find_clips(str(folder / "empty"))
    with pytest.raises(InvalidSettings, match=r"it holds a\.MKV, b\.mp4, c\.y4m"):
        find_clips(str(folder), ["nothing"])


def test_a_prepared_clip_is_the_cropped_source_without_loss(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", num_frames=6, size=(51, 37), pix_fmt="yuv444p")

    with prepared(clip, 4) as source:
        expected = [frame[:36, :50] for frame in read_rgb(clip, 4)]
        assert np.array_equal(list(read_rgb(source.path)), expected)
        assert (source.frames, source.width, source.height) == (4, 50, 36)
        assert source.pixels == 4 * 50 * 36
    assert not source.path.exists()


def test_unusable_clips_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("text")
    thin = make_clip(tmp_path / "thin.mkv", size=(8, 1), codec="ffv1", pix_fmt="bgr0")

    with pytest.raises(UnreadableInput), prepared(tmp_path / "text.mp4", 4):
        pass
    with pytest.raises(InvalidSettings, match="too small"), prepared(thin, 4):
        pass
