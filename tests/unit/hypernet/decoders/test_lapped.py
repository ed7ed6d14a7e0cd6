from __future__ import annotations

import pytest
import torch

from hypernet.decoders.lapped import lapped, rotation, unlapped
from hypernet.decoders.spectrum import cosines

CELLS = [8, 16]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_filtering_back_gives_what_was_there(cell: int, rows: int) -> None:
    planes = torch.rand(2, 3, rows * cell, 3 * cell)
    torch.testing.assert_close(unlapped(lapped(planes, cell), cell), planes)


@pytest.mark.parametrize("cell", CELLS)
def test_filters_are_orthogonal(cell: int) -> None:
    planes = torch.randn(4 * cell, 3 * cell)
    torch.testing.assert_close(lapped(planes, cell).square().sum(), planes.square().sum())
    torch.testing.assert_close(rotation(cell) @ rotation(cell).T, torch.eye(cell // 2))


def test_one_cell_has_nothing_to_overlap_with() -> None:
    planes = torch.rand(1, 16, 16)
    assert torch.equal(lapped(planes, 16), planes)


@pytest.mark.parametrize("cell", CELLS)
def test_less_of_what_is_smooth_is_left_to_high_frequencies(cell: int) -> None:
    steps = torch.randn(2000, 6 * cell, generator=torch.Generator().manual_seed(0))
    walks = (0.05 * steps).cumsum(1)[:, None].expand(-1, cell, -1)

    def spread(planes: torch.Tensor) -> float:
        """Geometric over arithmetic mean of the energies: less is better to code."""
        cells = torch.unflatten(planes[:, 0], 1, (-1, cell))[:, 2:4]
        energies = (cells @ cosines(cell).T).square().mean((0, 1))
        return float(energies.log().mean().exp() / energies.mean())

    assert spread(lapped(walks, cell)) < 0.97 * spread(walks)
