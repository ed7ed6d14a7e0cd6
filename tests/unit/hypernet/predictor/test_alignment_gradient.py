from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from hypernet.native import library
from hypernet.predictor import alignment_gradient, motion, motion_descent
from hypernet.predictor.alignment_gradient import AlignmentGradient
from hypernet.predictor.motion_descent import SQUARE, Alignment

ROUGHNESS, FOLD = 0.3, 3.0


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("has_target", [False, True])
@pytest.mark.parametrize("shrink", [0, 1])
def test_the_slope_is_that_of_the_loss(
    *, native: bool, has_target: bool, shrink: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not native:
        monkeypatch.setattr(alignment_gradient, "can_align", lambda _: False)
    generator = torch.Generator().manual_seed(1)
    cell, height, width = SQUARE >> shrink, 37, 50
    phases = torch.linspace(-1, 1, 8)
    alignment = Alignment(
        pictures=F.avg_pool2d(torch.rand(2, 8, height + 2, width + 2, generator=generator), 3, 1),
        basis=torch.stack((phases, phases.square())),
        target=torch.rand(2, 1, height, width, generator=generator) if has_target else None,
    )
    squares = (-(-height // cell), -(-width // cell))
    start = torch.randn(2, 4, *squares, generator=generator).requires_grad_()

    moved, target = alignment.moved(start, shrink)
    rough = sum(
        (d.abs() + d.square() / FOLD).sum() for d in (start.diff(dim=-1), start.diff(dim=-2))
    )
    loss = F.smooth_l1_loss(moved, target, beta=0.01)
    loss = loss + ROUGHNESS * torch.as_tensor(rough) / alignment.pictures[:, 0].numel()
    (expected,) = torch.autograd.grad(loss, start)

    slope = AlignmentGradient(
        alignment.pictures,
        alignment.basis,
        alignment.target,
        cell=cell,
        roughness=ROUGHNESS,
        fold=FOLD,
    )(start.detach())
    torch.testing.assert_close(slope, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("native", [False, True])
def test_motion_that_is_no_number_reads_nothing_outside(
    *, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not native:
        monkeypatch.setattr(alignment_gradient, "can_align", lambda _: False)
    pictures, basis = torch.rand(1, 2, 8, 9), torch.ones(1, 2)
    slope = AlignmentGradient(pictures, basis, None, cell=4, roughness=0.0, fold=FOLD)
    for value in (float("nan"), float("inf"), -1e30):
        assert slope(torch.full((1, 2, 2, 3), value)).shape == (1, 2, 2, 3)


@pytest.mark.skipif(library.kernels() is None, reason="no C compiler")
@pytest.mark.parametrize("has_target", [False, True])
def test_errors_of_squares_are_those_of_torch(
    *, has_target: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(1)
    alignment = Alignment(
        pictures=torch.rand(2, 8, 37, 50, generator=generator),
        basis=torch.linspace(-1, 1, 8)[None],
        target=torch.rand(2, 1, 37, 50, generator=generator) if has_target else None,
    )
    moves = torch.randn(2, 2, 3, 4, generator=generator)
    found = motion_descent._error_of_squares(alignment, moves)
    monkeypatch.setattr(motion_descent, "can_align", lambda _: False)
    torch.testing.assert_close(found, motion_descent._error_of_squares(alignment, moves))


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
