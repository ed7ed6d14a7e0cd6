from __future__ import annotations

import torch
import torch.nn.functional as F

from hypernet.decoders.warp import (
    MOTION_CELL,
    dense_field,
    enlarged,
    field_size,
    inverse_field,
    moved_points,
    sample,
    sample_at,
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


def test_points_are_each_pixels_place_plus_its_displacement() -> None:
    picture = torch.rand(2, 1, 70, 100, generator=torch.Generator().manual_seed(0))
    motion = torch.randn(2, 2, *field_size(70, 100), generator=torch.Generator().manual_seed(1)) * 5
    by_field = sample(picture, dense_field(motion, 70, 100))
    by_points = sample_at(picture, moved_points(motion, 70, 100))
    torch.testing.assert_close(by_points, by_field, atol=1e-4, rtol=0)


def test_a_picture_twice_as_large_moves_twice_as_far() -> None:
    motion = torch.randn(1, 2, *field_size(96, 128), generator=torch.Generator().manual_seed(2))
    whole, half = dense_field(motion, 96, 128), dense_field(motion, 48, 64, MOTION_CELL // 2)
    difference = (enlarged(half, 2) - whole).abs()
    # Lines bend only in the middle of squares.
    assert float(difference.max()) < 0.05
    assert float(difference.mean()) < 0.001


def test_the_field_of_half_a_picture_is_half_the_field() -> None:
    motion = torch.randn(2, 2, *field_size(96, 128), generator=torch.Generator().manual_seed(1))
    whole, half = dense_field(motion, 96, 128), dense_field(motion, 48, 64, MOTION_CELL // 2)
    torch.testing.assert_close(half, F.avg_pool2d(whole, 2) / 2, atol=1e-5, rtol=0)
