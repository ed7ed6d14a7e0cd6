from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hypernet.errors import UnreadableVideo
from hypernet.evaluation.codecs import VideoCodec, read_rgb
from hypernet.evaluation.encoders import LOSSLESS_RGB, write_video
from hypernet.evaluation.floors import FLOORS, DownscaledFrames, MeanFrame, QuarterSizeX264
from hypernet.evaluation.metrics import Frame, compare_videos
from tests.clips import moving

_RATE = Fraction(25)


def _source(folder: Path, frames: list[Frame]) -> Path:
    path = folder / "source.mkv"
    write_video(frames, path, _RATE, LOSSLESS_RGB)
    return path


def _decoded(codec: VideoCodec, source: Path, quality: int) -> tuple[list[Frame], int]:
    output = source.with_name(f"coded{codec.suffix}")
    stats = codec.encode(source, output, quality)
    assert stats.stream_bytes == output.stat().st_size
    return list(codec.decode(output)), stats.stream_bytes


@pytest.mark.parametrize("codec", FLOORS, ids=lambda codec: codec.name)
def test_every_floor_gives_back_the_clips_frames_and_size(
    codec: VideoCodec, tmp_path: Path
) -> None:
    frames = moving(5, (100, 70))
    source = _source(tmp_path, frames)

    for quality in codec.qualities:
        decoded, _ = _decoded(codec, source, quality)
        assert [frame.shape for frame in decoded] == [(70, 100, 3)] * 5


def test_the_mean_frame_is_the_rounded_mean_of_every_frame(tmp_path: Path) -> None:
    frames = moving(4)

    decoded, _ = _decoded(MeanFrame(), _source(tmp_path, frames), 1)

    assert np.array_equal(decoded, [np.rint(np.mean(frames, axis=0)).astype(np.uint8)] * 4)


def test_downscaled_frames_follow_the_motion_and_a_still_costs_little(tmp_path: Path) -> None:
    moved = moving(6, (96, 64))
    quality: dict[str, float] = {}
    sizes: dict[str, int] = {}
    for name, frames in {"moving": moved, "still": [moved[0]] * 6}.items():
        (tmp_path / name).mkdir()
        source = _source(tmp_path / name, frames)
        decoded, sizes[name] = _decoded(DownscaledFrames(), source, 8)
        comparison = compare_videos(frames, decoded, ms_ssim_every=0, with_vmaf=False)
        quality[name] = comparison.psnr_db

    assert quality["moving"] == pytest.approx(quality["still"], abs=1.0)
    assert sizes["still"] < sizes["moving"] / 2


def test_a_flat_clip_survives_downscaling_exactly(tmp_path: Path) -> None:
    flat = [np.full((48, 64, 3), value, dtype=np.uint8) for value in (20, 200, 90)]

    decoded, _ = _decoded(DownscaledFrames(), _source(tmp_path, flat), 16)

    assert np.array_equal(decoded, flat)


def test_quarter_size_x264_is_far_smaller_than_the_clip_and_still_like_it(tmp_path: Path) -> None:
    frames = moving(6, (160, 96))

    decoded, size = _decoded(QuarterSizeX264(), _source(tmp_path, frames), 18)

    comparison = compare_videos(frames, decoded, ms_ssim_every=0, with_vmaf=False)
    assert comparison.psnr_db > 15
    assert size < 6 * 160 * 96 * 3 / 20


def test_reading_does_not_need_the_source(tmp_path: Path) -> None:
    source = _source(tmp_path, moving(3))
    output = tmp_path / "coded.pictures"
    DownscaledFrames().encode(source, output, 8)
    source.unlink()

    assert len(list(DownscaledFrames().decode(output))) == 3


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    source = _source(tmp_path, moving(3))
    output = tmp_path / "coded.pictures"
    MeanFrame().encode(source, output, 4)
    output.write_bytes(output.read_bytes()[:-6])

    with pytest.raises(UnreadableVideo, match="damaged"):
        list(MeanFrame().decode(output))
    with pytest.raises(UnreadableVideo, match="damaged"):
        list(MeanFrame().decode(tmp_path / "missing"))
    with pytest.raises(UnreadableVideo, match="what size"):
        list(QuarterSizeX264().decode(source))
    assert next(read_rgb(source)).shape == (48, 64, 3)
