from __future__ import annotations

import pytest
import torch

from hypernet.decoders.tiling import blend_tiles, cut_tiles, tile_count, tile_starts


@pytest.mark.parametrize(
    ("length", "starts"),
    [(1, (0,)), (16, (0,)), (17, (0, 1)), (32, (0, 16)), (40, (0, 12, 24)), (48, (0, 16, 32))],
)
def test_the_fewest_tiles_that_cover(length: int, starts: tuple[int, ...]) -> None:
    assert tile_starts(length, 16) == starts


@pytest.mark.parametrize("size", [(5, 7), (16, 24), (17, 100), (64, 48), (33, 25)])
def test_tiles_that_are_cut_blend_into_the_frame(size: tuple[int, int]) -> None:
    frames = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    tiles = cut_tiles(frames, (16, 24))
    assert tiles.shape == (tile_count(*size, (16, 24)), 2, 3, 16, 24)
    torch.testing.assert_close(blend_tiles(tiles, *size), frames)


def test_overlapping_tiles_pass_into_each_other_without_a_step() -> None:
    tiles = torch.stack([torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)])
    row = blend_tiles(tiles, 8, 12)[0, 0, 3]
    assert row[:4].tolist() == [0.0] * 4
    assert row[8:].tolist() == [1.0] * 4
    torch.testing.assert_close(row[4:8].diff(), torch.full((3,), 0.2))
