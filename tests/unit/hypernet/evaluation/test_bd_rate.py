from __future__ import annotations

import math

import numpy as np
import pytest

from hypernet.evaluation.bd_rate import (
    RatePoint,
    bd_psnr_db,
    bd_rate_percent,
    efficient_points,
    rate_at_psnr,
)

_PSNRS = [24.0, 27.5, 30.0, 33.0, 38.0]


def _curve(rates: list[float], psnrs: list[float]) -> list[RatePoint]:
    return [RatePoint(rate=rate, psnr_db=psnr) for rate, psnr in zip(rates, psnrs, strict=True)]


def _exponential(scale: float = 1.0, psnrs: list[float] = _PSNRS) -> list[RatePoint]:
    """Six decibels per doubling of the rate: a straight line in log rate."""
    return _curve([scale * 2 ** (psnr / 6) for psnr in psnrs], psnrs)


def _bent(scale: float = 1.0) -> list[RatePoint]:
    return _curve([scale * rate for rate in (1.0, 1.4, 3.0, 4.0, 20.0)], _PSNRS)


@pytest.mark.parametrize("scale", [0.5, 0.8, 1.0, 1.25])
def test_a_curve_scaled_in_rate_differs_by_exactly_that_scale(scale: float) -> None:
    delta = bd_rate_percent(_bent(), _bent(scale))

    assert delta.value == pytest.approx(100 * (scale - 1), abs=1e-9)


def test_straight_lines_at_different_points_give_the_analytic_difference() -> None:
    test = _exponential(0.8, [23.0, 26.0, 29.0, 35.0])

    rate, psnr = bd_rate_percent(_exponential(), test), bd_psnr_db(_exponential(), test)

    assert rate.value == pytest.approx(-20.0, abs=1e-9)
    assert psnr.value == pytest.approx(-6 * math.log2(0.8), abs=1e-9)


def test_a_curve_shifted_in_psnr_has_that_bd_psnr() -> None:
    shifted = [RatePoint(rate=p.rate, psnr_db=p.psnr_db + 1.5) for p in _bent()]

    assert bd_psnr_db(_bent(), shifted).value == pytest.approx(1.5, abs=1e-9)


def test_piecewise_cubics_match_values_worked_out_by_hand() -> None:
    # Points (0, 0), (1, 1), (3, 2) in (PSNR, log rate): chords 1 and 1/2, inner slope 9 / 13... :
    # weights 5 and 4, (5 + 4) / (5 / 1 + 4 / 0.5) = 9 / 13; left end (4 * 1 - 0.5) / 3 = 7 / 6.
    curve = _curve([1.0, math.e, math.e**2], [0.0, 1.0, 3.0])
    inner, left = 9 / 13, 7 / 6

    middle = rate_at_psnr(curve, 0.5)

    assert middle is not None
    assert math.log(middle) == pytest.approx(0.5 + (left - inner) / 8)


def test_interpolation_goes_through_the_points_and_stays_monotone() -> None:
    curve = _bent()

    dense = [rate_at_psnr(curve, psnr) for psnr in np.linspace(24, 38, 200)]

    assert [rate_at_psnr(curve, p.psnr_db) for p in curve] == pytest.approx([p.rate for p in curve])
    assert None not in dense
    assert np.all(np.diff(np.array(dense, dtype=float)) > 0)


def test_there_is_no_value_outside_the_measured_points() -> None:
    assert rate_at_psnr(_bent(), 23.9) is None
    assert rate_at_psnr(_bent(), 38.1) is None


def test_curves_that_hardly_overlap_are_not_compared() -> None:
    low, high = _exponential(psnrs=[20, 22, 24, 26]), _exponential(psnrs=[25, 27, 29, 31])

    delta = bd_rate_percent(low, high)

    assert delta.value is None
    assert "17%" in delta.reason
    assert bd_rate_percent(low, _exponential(psnrs=[30, 32, 34])).value is None


def test_too_few_points_are_not_compared_and_the_reason_says_which_curve() -> None:
    assert "reference" in bd_rate_percent(_bent()[:2], _bent()).reason
    assert "test" in bd_rate_percent(_bent(), _bent()[:1]).reason
    assert bd_rate_percent([], _bent()).value is None


def test_points_that_cost_more_for_less_and_lossless_points_are_left_out() -> None:
    good = _bent()
    wasteful = RatePoint(rate=3.5, psnr_db=29.0)
    lossless = RatePoint(rate=100.0, psnr_db=math.inf)

    assert efficient_points([lossless, wasteful, *reversed(good)]) == good
