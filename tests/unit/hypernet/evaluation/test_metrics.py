from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from hypernet.errors import UnreadableInput
from hypernet.evaluation import metrics
from hypernet.evaluation.metrics import PsnrAccumulator, compare_videos

Video = NDArray[np.uint8]


def _video(frames: int = 3, height: int = 40, width: int = 48) -> Video:
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (frames, height // 8, width // 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def _noisy(video: Video, deviation: float) -> Video:
    noise = np.random.default_rng(6).normal(0, deviation, video.shape)
    return np.clip(video + noise, 0, 255).astype(np.uint8)


def _psnr(reference: Video, decoded: Video) -> PsnrAccumulator:
    accumulator = PsnrAccumulator()
    for frame, other in zip(reference, decoded, strict=True):
        accumulator.add(frame, other)
    return accumulator


def test_psnr_is_a_mean_over_frames() -> None:
    reference = np.full((2, 4, 6, 3), 100, dtype=np.uint8)
    decoded = reference.copy()
    decoded[0] += 5
    decoded[1, :, :, 0] -= 9  # a third of the values: MSE 27

    expected = np.mean([10 * math.log10(65025 / 25), 10 * math.log10(65025 / 27)])
    assert _psnr(reference, decoded).psnr_db == pytest.approx(expected)


def test_psnr_does_not_wrap_around_in_eight_bits() -> None:
    black = np.zeros((1, 2, 2, 3), dtype=np.uint8)

    assert _psnr(black, black + 255).psnr_db == pytest.approx(0.0)


def test_luma_weighs_green_most() -> None:
    grey = np.full((1, 4, 4, 3), 100, dtype=np.uint8)
    errors = []
    for channel in range(3):
        changed = grey.copy()
        changed[..., channel] += 10
        errors.append(_psnr(grey, changed).psnr_y_db)

    expected = [10 * math.log10(65025 / (10 * w) ** 2) for w in (0.2126, 0.7152, 0.0722)]
    assert errors == pytest.approx(expected, abs=1e-3)


def test_identical_frames_count_for_a_hundred_decibels_unless_all_are() -> None:
    reference = _video(2)
    decoded = reference.copy()
    assert (_psnr(reference, decoded).psnr_db, _psnr(reference, decoded).psnr_y_db) == (
        math.inf,
    ) * 2

    decoded[1] = _noisy(reference, 6)[1]
    noise = _psnr(reference[1:], decoded[1:])
    assert _psnr(reference, decoded).psnr_db == pytest.approx((100 + noise.psnr_db) / 2)
    assert _psnr(reference, decoded).psnr_y_db == pytest.approx((100 + noise.psnr_y_db) / 2)


def test_ms_ssim_is_one_for_identical_frames_and_falls_with_noise() -> None:
    frame = _video(1, 168, 176)[0]
    scores = [metrics.ms_ssim(frame, _noisy(frame, deviation)) for deviation in (0, 10, 40)]

    assert scores[0] == pytest.approx(1.0)
    assert None not in scores
    assert scores == sorted(scores, key=lambda score: -(score or 0))


@pytest.mark.parametrize(
    ("side", "window"), [(1, None), (32, None), (33, 3), (144, 9), (160, 9), (161, 11), (480, 11)]
)
def test_small_frames_take_a_smaller_window(side: int, window: int | None) -> None:
    frame = np.zeros((side, side + 7, 3), dtype=np.uint8)

    assert metrics.ms_ssim_window(side) == window
    assert (metrics.ms_ssim(frame, frame) is None) == (window is None)


def test_comparing_videos_reports_every_measure() -> None:
    reference = _video()
    comparison = compare_videos(reference, _noisy(reference, 5), with_vmaf=False)

    assert comparison.frames == 3
    assert 30 < comparison.psnr_db < 40
    assert comparison.psnr_y_db > comparison.psnr_db
    assert comparison.ms_ssim is not None
    assert comparison.vmaf is None


def test_infinity_is_null_in_json() -> None:
    video = _video()
    result = compare_videos(video, video, ms_ssim_every=0, with_vmaf=False).as_json()

    assert result == {
        "psnr_db": None, "psnr_y_db": None, "ms_ssim": None, "vmaf": None, "frames": 3,
    }  # fmt: skip


def test_comparing_holds_one_pair_of_frames_at_a_time() -> None:
    alive = 0
    most = 0

    class Tracked(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def frames() -> Iterator[Video]:
        nonlocal alive, most
        for _ in range(30):
            frame = np.zeros((8, 8, 3), dtype=np.uint8).view(Tracked)
            alive += 1
            most = max(most, alive)
            yield frame
            del frame

    compare_videos(frames(), frames(), with_vmaf=False)

    assert most <= 6


@pytest.mark.parametrize(("first", "second"), [(3, 2), (2, 3)])
def test_different_numbers_of_frames_are_refused(first: int, second: int) -> None:
    with pytest.raises(UnreadableInput, match="ends after 2 frames"):
        compare_videos(_video(first), _video(second), with_vmaf=False)


def test_different_sizes_and_no_frames_are_refused() -> None:
    with pytest.raises(UnreadableInput, match="48x40 in the reference and 56x40"):
        compare_videos(_video(), _video(width=56), with_vmaf=False)
    with pytest.raises(UnreadableInput, match="no frames"):
        compare_videos([], [], with_vmaf=False)


@pytest.mark.parametrize("width", [48, 41])
def test_vmaf_is_high_for_identical_videos_and_falls_with_noise(width: int) -> None:
    pytest.importorskip("imageio_ffmpeg")
    reference = _video(4, 64, 96)[:, :, :width]

    same = compare_videos(reference, reference, ms_ssim_every=0).vmaf
    noisy = compare_videos(reference, _noisy(reference, 70), ms_ssim_every=0).vmaf

    assert same is not None
    assert noisy is not None
    assert same > 90
    assert noisy < same - 10
