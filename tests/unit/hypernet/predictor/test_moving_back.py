from __future__ import annotations

import torch

from hypernet.decoders.clip_motion import SWAYS
from hypernet.predictor.moving_back import WayBack, _averaged, _spread

RANDOM = torch.Generator().manual_seed(0)
PLANES = (
    torch.rand(1, 1, 64, 96, generator=RANDOM),
    torch.rand(1, 2, 32, 48, generator=RANDOM),
)


def way_back(evenly: float) -> WayBack:
    """Everything moves right by so many pixels from the middle of a clip to its end."""
    motion = torch.zeros(4, 2, 3)
    motion[0] = evenly
    return WayBack(motion, torch.zeros(2 * SWAYS, 1, 1), 64, 96)


def test_without_motion_errors_stay_where_they_are() -> None:
    assert way_back(0.0)(PLANES, 3) is PLANES


def test_errors_move_against_the_motion() -> None:
    luma, chroma = way_back(8.0)(PLANES, 7)
    # The last columns show what left the picture at the border: their errors are averaged there.
    torch.testing.assert_close(luma[..., 1:88], PLANES[0][..., 9:], rtol=0, atol=1e-4)
    torch.testing.assert_close(chroma[..., 1:44], PLANES[1][..., 5:], rtol=0, atol=1e-4)


def test_pixels_that_show_the_same_place_are_averaged() -> None:
    picture = torch.rand(1, 1, 8, 16, generator=RANDOM)
    to_column_5 = (torch.arange(16.0) - 5).expand(1, 1, 8, 16)
    field = torch.cat((to_column_5, torch.zeros_like(to_column_5)), 1)
    averaged = _averaged(picture, field)
    torch.testing.assert_close(averaged[..., 5], picture.mean(-1), rtol=0, atol=1e-4)
    assert float(averaged[..., 7:].abs().max()) < 1e-4


def test_spreading_is_the_adjoint_of_sampling() -> None:
    generator = torch.Generator().manual_seed(0)
    points = 2.4 * torch.rand(1, 10, 12, 2, generator=generator) - 1.2
    here, there = (torch.rand(1, 3, 10, 12, generator=generator) for _ in range(2))
    read = torch.nn.functional.grid_sample(here, points, padding_mode="border", align_corners=False)
    torch.testing.assert_close((read * there).sum(), (here * _spread(there, points)).sum())
