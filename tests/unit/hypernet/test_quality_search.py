from __future__ import annotations

from collections.abc import Callable

import pytest

from hypernet.bitstream.segment import SegmentSymbols
from hypernet.quality_search import CLOSE_ENOUGH_DB, MAX_TRIALS, Trial, reach_psnr


def encoder(psnr_of: Callable[[int], float], tried: list[int]) -> Callable[[int], Trial]:
    def encode(quality: int) -> Trial:
        tried.append(quality)
        segment = SegmentSymbols(pts=(0,), clips=())
        return Trial(quality=quality, psnr_db=psnr_of(quality), segment=segment)

    return encode


@pytest.mark.parametrize("slope", [0.03, 0.07, 0.12])
@pytest.mark.parametrize("target", [29.0, 30.2, 31.5])
def test_a_target_within_reach_is_met_closely(slope: float, target: float) -> None:
    tried: list[int] = []
    encode = encoder(lambda quality: 28.5 + slope * quality, tried)
    found = reach_psnr(encode, target, 50, lambda _trials: True)
    assert found.psnr_db >= target
    assert found.psnr_db <= target + CLOSE_ENOUGH_DB + slope or found.quality == 1
    assert len(tried) == len(set(tried)) <= MAX_TRIALS


def test_neighbours_that_are_the_same_do_not_lead_astray() -> None:
    tried: list[int] = []
    encode = encoder(lambda quality: 28.2 + 0.27 * (quality // 3), tried)
    found = reach_psnr(encode, 32.0, 50, lambda _trials: True)
    assert 32.0 <= found.psnr_db <= 32.0 + 2 * 0.27
    assert max(tried) == 50


def test_a_target_out_of_reach_gives_the_best_there_is() -> None:
    found = reach_psnr(encoder(lambda q: 20 + q / 100, []), 60.0, 50, lambda _trials: True)
    assert found.quality == 100


def test_a_target_below_everything_gives_the_fewest_bytes() -> None:
    found = reach_psnr(encoder(lambda q: 40 + q / 100, []), 20.0, 50, lambda _trials: True)
    assert found.quality == 1


def test_without_time_the_first_trial_is_what_there_is() -> None:
    tried: list[int] = []
    found = reach_psnr(encoder(lambda _q: 25.0, tried), 32.0, 50, lambda trials: trials < 1)
    assert found.quality == 50
    assert tried == [50]
