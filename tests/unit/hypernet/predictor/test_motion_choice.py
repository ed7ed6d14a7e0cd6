from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypernet.predictor.motion_choice import chosen_motion, texture


def _found(seed: int, size: tuple[int, int] = (6, 9)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(2, 4, *size, generator=generator)


def _textured(level: float) -> torch.Tensor:
    return torch.tensor([level, 0.0, level]).view(1, 3, 1, 1).expand(2, 3, 6, 9)


def _chosen(found: torch.Tensor, level: float, price: float) -> torch.Tensor:
    return chosen_motion(found, _textured(level), torch.ones(2), torch.full((2,), price))


def test_the_nearest_step_where_errors_are_dear() -> None:
    found = _found(1)
    assert torch.equal(_chosen(found, 1.0, 1e6), torch.floor(found + 0.5))


@pytest.mark.parametrize(("level", "price"), [(0.0, 1e6), (1.0, 1e-6)])
def test_no_motion_where_none_shows_or_matters(level: float, price: float) -> None:
    assert not _chosen(_found(2), level, price).any()


def test_noise_around_a_pan_is_smoothed_away() -> None:
    pan = torch.tensor([8.0, -3.0, 0.0, 0.0]).view(1, 4, 1, 1).expand(2, 4, 6, 9)
    found = pan + 0.4 * torch.rand(pan.shape, generator=torch.Generator().manual_seed(3)).sub(0.5)
    found[:, :, 2, 4] += 0.9
    assert torch.equal(_chosen(found, 1.0, 1.0), pan)


def test_what_moves_by_itself_goes_on_moving() -> None:
    found = torch.zeros(2, 4, 6, 9)
    found[:, 0, 2:4, 3:6] = 12.0
    assert torch.equal(_chosen(found, 1.0, 1.0), found)


@settings(deadline=None)
@given(st.integers(0, 50), st.floats(0.01, 10))
def test_costs_at_most_as_much_as_the_nearest_steps(seed: int, price: float) -> None:
    found = _found(seed)
    coarse, fine = _chosen(found, 1.0, price), torch.floor(found + 0.5)
    assert _cost(coarse, found, price) <= _cost(fine, found, price) + 1e-2


def _cost(motion: torch.Tensor, found: torch.Tensor, price: float) -> float:
    """What the choice is about, written down once more."""
    error = price * (motion - found).square().sum()
    bits = torch.zeros(())
    for axis in (2, 3):
        size = motion.diff(dim=axis).abs()
        bits += torch.where(size == 0, 0.3, 2.5 + 1.6 * torch.log2(size.clamp(min=1))).sum() / 2
    return float(error + bits)


def test_clips_of_a_batch_are_chosen_for_by_themselves() -> None:
    found, price = _found(4), torch.tensor([1e6, 1e-6])
    both = chosen_motion(found, _textured(1.0), torch.ones(2), price)
    assert torch.equal(both[0], torch.floor(found[0] + 0.5))
    assert not both[1].any()


def test_texture_tells_the_error_of_a_small_shift() -> None:
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    picture = torch.sin(0.3 * columns + 0.2 * rows)
    moved = torch.sin(0.3 * (columns + 0.1) + 0.2 * (rows - 0.2))
    xx, xy, yy = texture(picture[None, None])[0, :, 0, 1]
    error = (moved - picture)[:32, 32:64].square().sum()
    told = xx * 0.01 - 2 * xy * 0.02 + yy * 0.04
    assert float(told) == pytest.approx(float(error), rel=0.1)


@pytest.mark.parametrize("size", [(16, 16), (48, 80), (32, 32)])
def test_texture_covers_every_square(size: tuple[int, int]) -> None:
    found = texture(torch.rand(2, 1, *size))
    assert found.shape == (2, 3, -(-size[0] // 32), -(-size[1] // 32))
