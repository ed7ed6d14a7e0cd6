"""The quality at which a segment just reaches a PSNR."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypernet.bitstream.segment import SegmentSymbols

MAX_TRIALS = 4
CLOSE_ENOUGH_DB = 0.15
USUAL_SLOPE = 0.07
"""Decibels per point of quality, to start with."""
LOWEST, HIGHEST = 1, 100


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trial:
    """A segment encoded at one quality, and the PSNR (RGB, mean over frames) it decodes at."""

    quality: int
    psnr_db: float
    segment: SegmentSymbols


def reach_psnr(
    encode: Callable[[int], Trial], target_db: float, start: int, may_go_on: Callable[[int], bool]
) -> Trial:
    """The trial of lowest quality that reaches a target, else the one that comes nearest.

    Args:
        encode: makes a trial.
        target_db: PSNR that is asked for.
        start: first quality to try.
        may_go_on: asked with the number of trials so far before each further one.
    """
    trials = [encode(start)]
    while len(trials) < MAX_TRIALS and may_go_on(len(trials)):
        quality = _next_quality(trials, target_db)
        if quality in {trial.quality for trial in trials}:
            break
        trials.append(encode(quality))
    good = [trial for trial in trials if trial.psnr_db >= target_db]
    if good:
        return min(good, key=lambda trial: trial.quality)
    return max(trials, key=lambda trial: trial.psnr_db)


def _next_quality(trials: list[Trial], target_db: float) -> int:
    """By the line between what fell short and what reached the target, else on from the last trial.

    The same again once that is close enough. Neighbours may decode alike, so only trials on both
    sides of the target tell where it lies.
    """
    last = trials[-1]
    if 0 <= last.psnr_db - target_db <= CLOSE_ENOUGH_DB:
        return last.quality
    # A little above, as falling short is worse than a few bytes too many.
    goal_db = target_db + CLOSE_ENOUGH_DB / 2
    short = [trial for trial in trials if trial.psnr_db < target_db]
    low = max(short, key=lambda trial: trial.quality, default=None)
    reached = [trial for trial in trials if low is None or trial.quality > low.quality]
    high = min(reached, key=lambda trial: trial.quality, default=None)
    if low is None or high is None:
        return _onward(trials, goal_db)
    share = (goal_db - low.psnr_db) / (high.psnr_db - low.psnr_db)
    between = low.quality + round(share * (high.quality - low.quality))
    return min(max(between, low.quality + 1), max(high.quality - 1, low.quality + 1))


def _onward(trials: list[Trial], goal_db: float) -> int:
    """By the slope of the last trials, which all lie on one side of the target."""
    last, slope = trials[-1], USUAL_SLOPE
    if len(trials) > 1 and (run := last.quality - trials[-2].quality):
        slope = max((last.psnr_db - trials[-2].psnr_db) / run, USUAL_SLOPE / 4)
    step = round((goal_db - last.psnr_db) / slope)
    if step == 0:
        step = 1 if last.psnr_db < goal_db else -1
    return min(max(last.quality + step, LOWEST), HIGHEST)
