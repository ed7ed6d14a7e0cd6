from __future__ import annotations

import torch

from hypernet.decoders.warp import (
    MOTION_CELL,
    dense_field,
    field_size,
    halved,
    inverse_field,
    sample,
)


def test_a_constant_displacement_reads_the_neighbour() -> None:
    picture = torch.rand(1, 2, 32, 48)
    field = torch.zeros(1, 2, 32, 48)
    field[:, 0], field[:, 1] = 3.0, -2.0
    moved = sample(picture, field)
    torch.testing.assert_close(moved[..., 2:, :-3], picture[..., :-2, 3:], atol=1e-4, rtol=0)


def test_fields_are_smooth_and_cover_the_frame() -> None:
    motion = torch.randn(1, 2, *field_size(70, 100)) * 5
    field = dense_field(motion, 70, 100)
    assert field.shape == (1, 2, 70, 100)
    steps = (field[..., 1:] - field[..., :-1]).abs().max()
    assert float(steps) <= float(motion.abs().max()) * 2 / 32 + 1e-4


def test_the_inverse_leads_back() -> None:
    motion = torch.randn(1, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    field = dense_field(2 * motion, 96, 128)
    there = sample(inverse_field(field), field) + field
    assert float(there[..., 16:-16, 16:-16].abs().max()) < 0.1


def test_half_a_picture_moves_half_as_far() -> None:
    field = torch.full((1, 2, 8, 8), 6.0)
    assert torch.equal(halved(field), torch.full((1, 2, 4, 4), 3.0))


def test_the_field_of_half_a_picture_is_half_the_field() -> None:
    motion = torch.randn(2, 2, *field_size(96, 128), generator=torch.Generator().manual_seed(1))
    whole, half = dense_field(motion, 96, 128), dense_field(motion, 48, 64, MOTION_CELL // 2)
    torch.testing.assert_close(half, halved(whole), atol=1e-5, rtol=0)
