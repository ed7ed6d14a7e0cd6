from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hypernet.decoders.clip_motion import SWAY_SQUARES, SWAYS
from hypernet.native import library
from hypernet.predictor import alignment_gradient, motion, motion_descent
from hypernet.predictor.alignment_gradient import alignment_errors, slope_of_roughness
from hypernet.predictor.motion_descent import SQUARE, Alignment, Motion, error_of_squares

HEIGHT, WIDTH = 37, 50


def _alignment(*, has_target: bool) -> Alignment:
    generator = torch.Generator().manual_seed(1)
    noise = torch.rand(2, 8, HEIGHT + 2, WIDTH + 2, generator=generator)
    phases = torch.linspace(-1, 1, 8)
    return Alignment(
        pictures=F.avg_pool2d(noise, 3, 1),
        basis=torch.stack((phases, phases.square())),
        target=torch.rand(2, 1, HEIGHT, WIDTH, generator=generator) if has_target else None,
    )


def _motion(cell: int) -> Motion:
    generator = torch.Generator().manual_seed(2)
    squares = (-(-HEIGHT // cell), -(-WIDTH // cell))
    swaying = (-(-squares[0] // SWAY_SQUARES), -(-squares[1] // SWAY_SQUARES))
    return Motion(
        squares=torch.randn(2, 4, *squares, generator=generator),
        sway=torch.randn(2, 2 * SWAYS, *swaying, generator=generator),
    )


def _without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alignment_gradient, "can_align", lambda _: False)


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("has_target", [False, True])
@pytest.mark.parametrize("shrink", [0, 1])
def test_the_slopes_are_those_of_the_error(
    *, native: bool, has_target: bool, shrink: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not native:
        _without_kernels(monkeypatch)
    cell, alignment = SQUARE >> shrink, _alignment(has_target=has_target)
    start = _motion(cell)
    assert start.sway is not None
    values = start.squares.requires_grad_(), start.sway.requires_grad_()
    moved, target = alignment.moved(start, shrink)
    error = F.smooth_l1_loss(moved, target, beta=0.01, reduction="sum")
    expected = torch.autograd.grad(error, values)

    with torch.no_grad():
        errors = alignment_errors(alignment.pictures, alignment.target, cell=cell)
        by_time = errors.slopes(alignment.by_time(start))
        slopes = (
            alignment.slope_of_squares(by_time),
            motion_descent._slope_of_sway(start.sway, by_time),
        )
    for slope, truth in zip(slopes, expected, strict=True):
        torch.testing.assert_close(slope, truth, rtol=1e-3, atol=1e-5 * float(truth.abs().max()))


@pytest.mark.skipif(library.kernels() is None, reason="no C compiler")
@pytest.mark.parametrize("has_target", [False, True])
@pytest.mark.parametrize("cell", [4, 16])
def test_slopes_are_those_of_torch(
    *, has_target: bool, cell: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    alignment = _alignment(has_target=has_target)
    by_time = alignment.by_time(_motion(cell))

    def slopes() -> Tensor:
        return alignment_errors(alignment.pictures, alignment.target, cell=cell).slopes(by_time)

    found = slopes()
    _without_kernels(monkeypatch)
    expected = slopes()
    assert found.shape == expected.shape == by_time.shape
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_the_slope_of_roughness_is_that_of_differences_between_neighbours() -> None:
    squares = _motion(8).squares.requires_grad_()
    rough = torch.stack(
        [(d.abs() + d.square() / 3).sum() for d in (squares.diff(dim=-1), squares.diff(dim=-2))]
    )
    (expected,) = torch.autograd.grad(rough.sum(), squares)
    torch.testing.assert_close(slope_of_roughness(squares.detach(), 3.0), expected)


@pytest.mark.parametrize("native", [False, True])
def test_motion_that_is_no_number_reads_nothing_outside(
    *, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not native:
        _without_kernels(monkeypatch)
    errors = alignment_errors(torch.rand(1, 2, 8, 9), None, cell=4)
    for value in (float("nan"), float("inf"), -1e30):
        assert errors.slopes(torch.full((1, 2, 2, 2, 3), value)).shape == (1, 2, 2, 2, 3)


@pytest.mark.skipif(library.kernels() is None, reason="no C compiler")
@pytest.mark.parametrize("has_target", [False, True])
def test_errors_of_squares_are_those_of_torch(
    *, has_target: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    alignment, moves = _alignment(has_target=has_target), _motion(SQUARE)
    found = error_of_squares(alignment, moves)
    monkeypatch.setattr(motion_descent, "can_align", lambda _: False)
    torch.testing.assert_close(found, error_of_squares(alignment, moves))


@pytest.mark.skipif(library.kernels() is None, reason="no C compiler")
@pytest.mark.parametrize("has_target", [False, True])
def test_a_step_of_least_squares_is_that_of_torch(
    *, has_target: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(1)
    pictures = F.avg_pool2d(torch.rand(2, 8, 39, 52, generator=generator), 3, 1)
    target = torch.rand(2, 1, 37, 50, generator=generator) if has_target else None
    shown = pictures, torch.linspace(-1, 1, 8), 3 * torch.randn(2, 2, 5, 7, generator=generator)
    found = motion._products(*shown, 8, target)
    monkeypatch.setattr(motion, "can_align", lambda _: False)
    torch.testing.assert_close(found, motion._products(*shown, 8, target), rtol=1e-3, atol=1e-6)
