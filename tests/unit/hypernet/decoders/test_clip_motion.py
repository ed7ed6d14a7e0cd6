from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hypernet.decoders.clip_motion import (
    SWAYS,
    clip_phase,
    frame_fields,
    motion_at,
    sway_size,
    swaying_squares,
    sways,
)
from hypernet.decoders.spectrum import CLIP_FRAMES
from hypernet.decoders.warp import MAX_MOTION, field_size

TIMES = torch.arange(float(CLIP_FRAMES))
SIZE = (200, 300)


def _still() -> tuple[Tensor, Tensor]:
    return torch.zeros(1, 4, *field_size(*SIZE)), torch.zeros(1, 2 * SWAYS, *sway_size(*SIZE))


def _any(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    motion, sway = (3 * torch.randn(x.shape, generator=generator) for x in _still())
    return motion, sway


def test_sways_are_orthonormal_and_leave_out_what_is_smooth() -> None:
    ways = sways()
    torch.testing.assert_close(ways.T @ ways, torch.eye(SWAYS), atol=1e-6, rtol=0)
    smooth = clip_phase(TIMES)[:, None] ** torch.arange(3)
    assert float((smooth.T @ ways).abs().max()) < 1e-5


def test_sways_are_the_same_whoever_asks_first() -> None:
    sways.cache_clear()
    with torch.inference_mode():
        first = sways()
    assert not first.is_inference()
    # The cubic of 8 equally spaced points, times a whole number.
    cubic = torch.tensor([-7.0, 5.0, 7.0, 3.0, -3.0, -7.0, -5.0, 7.0])
    torch.testing.assert_close(first[:, 0], cubic / cubic.norm())


def test_bent_motion_leaves_the_middle_and_moves_both_ends_alike() -> None:
    evenly, still = _still()
    bent = evenly.clone()
    evenly[:, 0], bent[:, 2] = 7.0, 7.0
    times = torch.tensor([0.0, 3.5, 7.0])
    assert motion_at(evenly, still, times)[0, :, 0, 1, 1].tolist() == [-7.0, 0.0, 7.0]
    assert motion_at(bent, still, times)[0, :, 0, 1, 1].tolist() == [7.0, 0.0, 7.0]


@pytest.mark.parametrize("way", range(SWAYS))
@pytest.mark.parametrize("axis", [0, 1])
def test_one_sway_moves_each_frame_as_far_as_it_says(way: int, axis: int) -> None:
    motion, sway = _still()
    sway[:, 2 * way + axis] = 5.0
    moved = motion_at(motion, sway, TIMES)
    assert moved.shape == (1, CLIP_FRAMES, 2, *field_size(*SIZE))
    expected = 5 * sways()[:, way, None, None].expand_as(moved[0, :, axis])
    torch.testing.assert_close(moved[0, :, axis], expected)
    assert not moved[:, :, 1 - axis].any()


def test_any_departure_from_smooth_motion_can_be_said() -> None:
    jumps = torch.zeros(CLIP_FRAMES)
    jumps[5] = 4.0
    motion, sway = _still()
    sway[0, ::2] = (sways().T @ jumps)[:, None, None]
    departure = motion_at(motion, sway, TIMES)[0, :, 0, 2, 2] - jumps
    smooth = clip_phase(TIMES)[:, None] ** torch.arange(3)
    fitted = smooth @ torch.linalg.lstsq(smooth, departure[:, None]).solution
    torch.testing.assert_close(fitted[:, 0], departure, atol=1e-4, rtol=0)


def test_a_sway_adds_to_the_motion() -> None:
    motion, sway = _any()
    none = _still()
    together = motion_at(motion, sway, TIMES)
    apart = motion_at(motion, none[1], TIMES) + motion_at(none[0], sway, TIMES)
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=0)


def test_a_sway_is_linear_between_frames() -> None:
    motion, sway = _still()[0], _any()[1]
    before, between, after = motion_at(motion, sway, torch.tensor([4.0, 4.25, 5.0]))[0]
    torch.testing.assert_close(between, torch.lerp(before, after, 0.25))


def test_clips_may_be_asked_for_times_of_their_own() -> None:
    motion, sway = (torch.cat(pair) for pair in zip(_any(1), _any(2), strict=True))
    times = torch.tensor([[0.0, 2.5], [6.0, 7.0]])
    found = motion_at(motion, sway, times)
    for one in range(2):
        alone = motion_at(motion[one : one + 1], sway[one : one + 1], times[one])
        torch.testing.assert_close(found[one : one + 1], alone)


def test_squares_that_sway_are_smooth_and_keep_a_constant() -> None:
    rows, columns = field_size(*SIZE)
    sway = torch.arange(float(sway_size(*SIZE)[1])).expand(_still()[1].shape)
    squares = swaying_squares(sway, rows, columns)
    assert squares.shape == (1, 2 * SWAYS, rows, columns)
    torch.testing.assert_close(squares[0, 0, 0, 2:6], torch.tensor([0.125, 0.375, 0.625, 0.875]))
    same = swaying_squares(torch.full_like(sway, 3.0), rows, columns)
    torch.testing.assert_close(same, torch.full_like(same, 3.0))


def test_a_sway_of_the_squares_of_the_motion_is_taken_as_it_is() -> None:
    motion, sway = _any()
    squares = swaying_squares(sway, *field_size(*SIZE))
    assert swaying_squares(squares, *field_size(*SIZE)) is squares
    part = slice(2, 5)
    whole = motion_at(motion, sway, TIMES)[..., part, :]
    cut = motion_at(motion[:, :, part], squares[:, :, part], TIMES)
    torch.testing.assert_close(cut, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30, -3e38])
@pytest.mark.parametrize("which", [0, 1])
def test_displacements_are_numbers_within_bounds(which: int, value: float) -> None:
    moving = _any()
    moving[which].view(-1)[::7] = value
    moved = motion_at(*moving, TIMES)
    assert moved.isfinite().all()
    assert float(moved.abs().max()) <= MAX_MOTION


def test_fields_are_between_those_of_squares_and_half_as_far_at_half_size() -> None:
    moved = motion_at(*_any(), TIMES)
    fields = frame_fields(moved, *SIZE)
    assert fields.shape == (1, CLIP_FRAMES, 2, *SIZE)
    torch.testing.assert_close(
        fields[..., 15:17, 15:17].mean((-2, -1)), moved[..., 0, 0], atol=0.1, rtol=0
    )
    same = frame_fields(torch.full_like(moved, 3.0), 100, 150, 16)
    torch.testing.assert_close(same, torch.full_like(same, 1.5))
