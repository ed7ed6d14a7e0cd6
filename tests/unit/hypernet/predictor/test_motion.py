from __future__ import annotations

import pytest
import torch

from hypernet.decoders.clip_motion import SWAYS, motion_at, sway_size
from hypernet.decoders.warp import sample
from hypernet.predictor.motion import clip_motion, reference_gate, reference_motion
from hypernet.predictor.motion_descent import Alignment, Motion, error_of_squares, worthwhile
from tests.unit.hypernet.predictor.samples import SHAKE, drifting, shaking


def _luma(frames: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(frames.mean(1, keepdim=True), 2)[None, :, 0]


@pytest.mark.parametrize("speed", [0.5, 2.0, -3.0])
def test_a_pan_is_found(speed: float) -> None:
    motion, _ = clip_motion(_luma(drifting(8, 128, 192, speed)))
    inside = motion[0, :, 1:-1, 1:-1]
    assert float((inside[0] - 3.5 * speed).abs().max()) < 0.5
    assert float(inside[1:].abs().max()) < 0.5


def _pan(speed: int) -> torch.Tensor:
    """A picture without repetition, coarse and fine, that moves right: ``(T, 3, H, W)``."""
    generator = torch.Generator().manual_seed(1)
    wide = 256 + 8 * speed
    layers = [
        torch.nn.functional.interpolate(
            torch.rand(1, 1, 192 // cell, wide // cell, generator=generator),
            size=(192, wide),
            mode="bicubic",
        )
        for cell in (32, 16, 8)
    ]
    picture = torch.stack(layers).mean(0)[0].expand(3, -1, -1)
    return torch.stack([picture[..., (8 - t) * speed :][..., :256] for t in range(8)])


@pytest.mark.parametrize("speed", [6, 10])
def test_a_fast_pan_is_found(speed: int) -> None:
    motion, _ = clip_motion(_luma(_pan(speed)))
    inside = motion[0, :, 2:-2, 2:-2]
    assert float((inside[0] - 3.5 * speed).abs().max()) < 1


def test_what_speeds_up_is_bent() -> None:
    phase = torch.linspace(-1, 1, 8)
    shifts = (3 * phase + 2 * phase.square()).tolist()
    frames = drifting(8, 128, 192, 0.0)
    frames = torch.stack(
        [
            sample(frame[None], torch.tensor([-shift, 0.0]).view(1, 2, 1, 1).expand(1, 2, 128, 192))
            for frame, shift in zip(frames, shifts, strict=True)
        ]
    )[:, 0]
    motion, _ = clip_motion(_luma(frames), 40)
    inside = motion[0, :, 1:-1, 1:-1].mean((1, 2))
    assert float(inside[0]) == pytest.approx(3, abs=0.4)
    assert float(inside[2]) == pytest.approx(2, abs=0.6)


def test_a_square_keeps_its_candidate_unless_clearly_beaten() -> None:
    alignment = Alignment(
        pictures=_luma(drifting(8, 128, 192, 2.0)), basis=torch.linspace(-1, 1, 8)[None]
    )
    still = torch.zeros(1, 2, 4, 6)
    right, wrong = still.clone(), still.clone()
    right[:, 0], wrong[:, 0] = 3.5, -3.5
    assert torch.equal(worthwhile(alignment, [still, wrong, right]), right)
    assert torch.equal(worthwhile(alignment, [right, right + 0.01]), right)


def test_what_stands_still_has_no_motion() -> None:
    frames = torch.rand(1, 64, 64).expand(8, -1, -1)[None]
    motion, sway = clip_motion(frames)
    assert not motion.any()
    assert not sway.any()


@pytest.mark.parametrize("native", [False, True])
def test_what_shakes_a_camera_is_a_sway(*, native: bool, request: pytest.FixtureRequest) -> None:
    if not native:
        request.getfixturevalue("without_kernels")
    luma = _luma(shaking(SHAKE, 128, 192))
    motion, sway = clip_motion(luma)
    assert sway.shape == (1, 2 * SWAYS, *sway_size(128, 192))
    assert _error(luma, motion, sway) < 0.3 * _error(luma, motion, torch.zeros_like(sway))


def test_a_sway_is_as_far_as_the_camera_shakes() -> None:
    luma = _luma(shaking(SHAKE, 128, 192))
    moved = motion_at(*clip_motion(luma, 40), torch.arange(8.0))
    shifts = torch.tensor(SHAKE).float()
    found = moved[0, :, :, 1:-1, 1:-1].mean((2, 3))
    # What all frames share moves none against another.
    torch.testing.assert_close(found - found.mean(0), shifts - shifts.mean(0), atol=0.4, rtol=0)


def test_only_clips_that_shake_are_swayed() -> None:
    shaken, pan = (shaking(shifts, 128, 192) for shifts in (SHAKE, [(t, 0) for t in range(8)]))
    alone = clip_motion(_luma(shaken))
    motion, sway = clip_motion(torch.cat((_luma(shaken), _luma(pan))))
    torch.testing.assert_close((motion[:1], sway[:1]), alone, atol=1e-3, rtol=0)
    assert not sway[1].any()


def _error(luma: torch.Tensor, motion: torch.Tensor, sway: torch.Tensor) -> float:
    phases = torch.linspace(-1, 1, 8)
    alignment = Alignment(pictures=luma, basis=torch.stack((phases, phases.square())))
    found = Motion(squares=motion / 2, sway=sway / 2)
    return float(error_of_squares(alignment, found).mean())


def test_the_reference_is_found_where_the_pan_left_it() -> None:
    frames = drifting(16, 128, 192, 1.0)
    clip, picture = _luma(frames[8:]), _luma(frames[7:8])
    motion, _ = clip_motion(clip)
    middle = clip[:, 3:5].mean(1, keepdim=True)
    found = reference_motion(picture, middle, motion, torch.tensor([-4.5]))
    assert float((found[0, 0, 1:-1, 1:-1] + 4.5).abs().max()) < 0.75


def test_the_gate_closes_where_the_reference_is_another_picture() -> None:
    mean = torch.full((1, 1, 32, 64), 0.3)
    moved = mean.clone()
    moved[..., 32:] = torch.rand(1, 1, 32, 32)
    assert reference_gate(mean, moved)[0, 0].tolist() == [[0, 0, 1, 1]] * 2
