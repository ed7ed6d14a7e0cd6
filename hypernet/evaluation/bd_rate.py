"""Comparing rate-distortion curves: Bjontegaard deltas and rate at equal quality.

Curves are interpolated by monotone piecewise cubics (PCHIP, Fritsch and Butland 1984) in the
logarithm of the rate, as the common tools do. Deltas are taken per clip and averaged by the caller.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Fewer distinct points than this make no curve.
MIN_POINTS = 3
#: A delta is reported if the curves share at least this part of the narrower one's range.
MIN_OVERLAP = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class RatePoint:
    """One operating point: a positive rate (bytes or bits per pixel) and its PSNR in dB."""

    rate: float
    psnr_db: float


Curve = Sequence[RatePoint]


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """A Bjontegaard delta, or None and the reason why the curves cannot be compared."""

    value: float | None
    reason: str = ""


def bd_rate_percent(reference: Curve, test: Curve) -> Delta:
    """Mean difference of rate at equal PSNR, in percent; negative when ``test`` needs less."""

    def percent(mean_log_ratio: float) -> float:
        return 100 * math.expm1(mean_log_ratio)

    return _delta(_by_psnr(reference), _by_psnr(test), "PSNR", percent)


def bd_psnr_db(reference: Curve, test: Curve) -> Delta:
    """Mean difference of PSNR at equal rate, in dB; positive when ``test`` is better."""
    return _delta(_by_rate(reference), _by_rate(test), "rate", float)


def rate_at_psnr(curve: Curve, psnr_db: float) -> float | None:
    """The rate at which a curve reaches this PSNR; None outside the measured points."""
    log_rate = _value_at(_by_psnr(curve), psnr_db)
    return None if log_rate is None else math.exp(log_rate)


def efficient_points(points: Iterable[RatePoint]) -> list[RatePoint]:
    """Finite points that no other one beats in both rate and PSNR, by rising rate."""
    kept: list[RatePoint] = []
    for point in sorted(points, key=lambda point: (point.rate, -point.psnr_db)):
        if math.isfinite(point.psnr_db) and (not kept or point.psnr_db > kept[-1].psnr_db):
            kept.append(point)
    return kept


class _Pchip:
    """Monotone piecewise cubic through (x, y), x strictly increasing, at least two points."""

    def __init__(self, x: Array, y: Array) -> None:
        self.x, self.y = x, y
        self._slopes = _slopes(x, y)

    def __call__(self, at: float) -> float:
        """The value at ``x[0] <= at <= x[-1]``."""
        return float(np.polyval(self._cubic(self._piece(at)), at - self.x[self._piece(at)]))

    def integral(self, low: float, high: float) -> float:
        """The exact integral between two abscissas inside the range."""
        total = 0.0
        for piece in range(self._piece(low), self._piece(high) + 1):
            left = self.x[piece]
            antiderivative = np.polyint(self._cubic(piece))
            ends = np.array([max(low, left), min(high, self.x[piece + 1])]) - left
            total += float(np.diff(np.polyval(antiderivative, ends))[0])
        return total

    def _piece(self, at: float) -> int:
        return int(np.clip(np.searchsorted(self.x, at, side="right") - 1, 0, len(self.x) - 2))

    def _cubic(self, piece: int) -> Array:
        """Coefficients of a piece, highest power first, in the distance from its left end."""
        width = self.x[piece + 1] - self.x[piece]
        chord = (self.y[piece + 1] - self.y[piece]) / width
        left, right = self._slopes[piece : piece + 2]
        cubic = (left + right - 2 * chord) / width**2
        return np.array([cubic, (3 * chord - 2 * left - right) / width, left, self.y[piece]])


def _slopes(x: Array, y: Array) -> Array:
    """Derivatives at the points: weighted harmonic means inside, one-sided at the ends."""
    widths, chords = np.diff(x), np.diff(y) / np.diff(x)
    if len(x) == 2:
        return np.repeat(chords, 2)
    slopes = np.zeros_like(x)
    same_sign = chords[:-1] * chords[1:] > 0
    before, after = widths[1:] + 2 * widths[:-1], 2 * widths[1:] + widths[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        harmonic = (before + after) / (after / chords[:-1] + before / chords[1:])
    slopes[1:-1] = np.where(same_sign, harmonic, 0.0)
    slopes[0] = _end_slope(widths[0], widths[1], chords[0], chords[1])
    slopes[-1] = _end_slope(widths[-1], widths[-2], chords[-1], chords[-2])
    return slopes


def _end_slope(width: float, next_width: float, chord: float, next_chord: float) -> float:
    """Three-point estimate, limited so that the piece stays monotone."""
    slope = ((2 * width + next_width) * chord - width * next_chord) / (width + next_width)
    if slope * chord <= 0:
        return 0.0
    if chord * next_chord <= 0 and abs(slope) > 3 * abs(chord):
        return 3 * chord
    return slope


def _by_psnr(curve: Curve) -> _Pchip | None:
    points = efficient_points(curve)
    return _interpolated([point.psnr_db for point in points], _log_rates(points))


def _by_rate(curve: Curve) -> _Pchip | None:
    points = efficient_points(curve)
    return _interpolated(_log_rates(points), [point.psnr_db for point in points])


def _log_rates(points: Iterable[RatePoint]) -> list[float]:
    return [math.log(point.rate) for point in points]


def _interpolated(x: list[float], y: list[float]) -> _Pchip | None:
    return _Pchip(np.array(x), np.array(y)) if len(x) >= 2 else None


def _value_at(curve: _Pchip | None, at: float) -> float | None:
    if curve is None or not curve.x[0] <= at <= curve.x[-1]:
        return None
    return curve(at)


def _delta(
    reference: _Pchip | None, test: _Pchip | None, axis: str, value_of: Callable[[float], float]
) -> Delta:
    """The mean vertical distance over the shared range of x, or why there is none."""
    if reference is None or len(reference.x) < MIN_POINTS:
        return _too_few_points("reference")
    if test is None or len(test.x) < MIN_POINTS:
        return _too_few_points("test")
    low = max(reference.x[0], test.x[0])
    high = min(reference.x[-1], test.x[-1])
    narrower = min(reference.x[-1] - reference.x[0], test.x[-1] - test.x[0])
    if high - low < MIN_OVERLAP * narrower:
        share = max(0.0, high - low) / narrower
        reason = f"the curves share {share:.0%} of the narrower range of {axis}"
        return Delta(value=None, reason=reason)
    distance = test.integral(low, high) - reference.integral(low, high)
    return Delta(value=value_of(distance / (high - low)))


def _too_few_points(name: str) -> Delta:
    reason = f"the {name} curve has fewer than {MIN_POINTS} efficient points"
    return Delta(value=None, reason=reason)
