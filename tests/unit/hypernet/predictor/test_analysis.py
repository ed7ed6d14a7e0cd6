from __future__ import annotations

import pytest
import torch

from hypernet.decoders.clip_motion import SWAYS, sway_size
from hypernet.decoders.spectrum import CLIP_FRAMES, spectrum
from hypernet.decoders.warp import MOTION_CELL
from hypernet.native import library
from hypernet.predictor import analysis
from hypernet.predictor.analysis import Reference, analyse, departure
from tests.unit.hypernet.predictor.samples import SHAKE, drifting, shaking

CHANNELS = 1552
EXACT = torch.tensor([1e9])
"""A price of errors at which no bit of the motion is saved."""


def test_the_spectrum_holds_the_energy_of_what_stands_still() -> None:
    picture = torch.rand(1, 1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(picture[0], 9, 1, 4)[None]
    clip = analyse(smooth.expand(-1, CLIP_FRAMES, -1, -1, -1), 0, CHANNELS, EXACT)
    # Colour differences are averaged over four pixels, which loses a little of a smooth picture.
    energy = CLIP_FRAMES * float((smooth - 0.5).square().sum())
    assert float(clip.spectra.square().sum()) == pytest.approx(energy, rel=0.02)
    assert not clip.motion.any()
    assert not clip.sway.any()


@pytest.mark.parametrize("given", [1, 5])
def test_missing_frames_repeat_the_last_and_missing_cells_the_border(given: int) -> None:
    frames = torch.randint(0, 256, (1, given, 3, 50, 70), dtype=torch.uint8)
    rows = torch.arange(64).clamp(max=49)
    columns = torch.arange(80).clamp(max=69)
    whole = frames[:, [min(n, given - 1) for n in range(CLIP_FRAMES)]][..., rows, :][..., columns]
    short, full = analyse(frames, 2, CHANNELS, EXACT), analyse(whole, 2, CHANNELS, EXACT)
    assert torch.equal(short.motion, full.motion)
    assert torch.equal(short.sway, full.sway)
    torch.testing.assert_close(short.spectra, full.spectra, atol=1e-4, rtol=0)


def test_frames_of_a_pan_are_moved_to_the_middle_of_the_clip() -> None:
    frames = drifting(CLIP_FRAMES, 128, 192, 2.0)[None]
    luma = (frames - 0.5).sum(2, keepdim=True) / 3**0.5
    middle, unmoved = luma[:, 3:5].mean(1), luma.mean(1)
    found = analyse(frames, 8, CHANNELS, EXACT).mean
    inside = (slice(None), slice(None), slice(32, -32), slice(32, -32))
    error, before = ((x - middle)[inside].square().mean() for x in (found, unmoved))
    assert float(error) < 0.1 * float(before)


@pytest.mark.parametrize("without_compiler", [False, True])
def test_frames_of_a_shaking_camera_are_lined_up(
    *, without_compiler: bool, request: pytest.FixtureRequest
) -> None:
    if without_compiler:
        request.getfixturevalue("without_kernels")
    frames = shaking(SHAKE, 128, 192)[None]
    found, unmoved = analyse(frames, 8, CHANNELS, EXACT), analyse(frames, 0, CHANNELS, EXACT)
    assert found.sway.shape == (1, 2 * SWAYS, *sway_size(128, 192))
    assert found.sway.any()
    assert not unmoved.sway.any()
    moves = spectrum(CHANNELS).index >= spectrum(CHANNELS).patterns
    left, before = (x.spectra[:, moves, 2:-2, 2:-2].square().sum() for x in (found, unmoved))
    assert float(left) < 0.1 * float(before)


def test_a_clip_like_its_reference_departs_by_nothing() -> None:
    picture = drifting(1, 64, 96, 0.0)
    clip = analyse(picture[None].expand(-1, CLIP_FRAMES, -1, -1, -1), 2, CHANNELS, EXACT)
    reference = Reference(picture=picture, offset=torch.tensor([-4.5]))
    motion, gate, spectra = departure(clip, reference, EXACT)
    assert motion.shape == (1, 6, 64 // MOTION_CELL, 96 // MOTION_CELL)
    assert float(motion.abs().max()) <= 1
    assert not gate.any()
    assert float(spectra.square().sum()) < 1e-3 * float(clip.spectra.square().sum())


def test_a_gate_that_is_closed_leaves_the_spectrum_alone() -> None:
    noise = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(3))
    clip = analyse(drifting(CLIP_FRAMES, 64, 96, 0.0)[None], 2, CHANNELS, EXACT)
    _, gate, spectra = departure(clip, Reference(picture=noise, offset=torch.tensor([4.5])), EXACT)
    assert gate.all()
    assert torch.equal(spectra, clip.spectra)


@pytest.mark.skipif(library.kernels() is None, reason="no C compiler")
@pytest.mark.parametrize("speed", [3.0, 400.0])
def test_frames_are_lined_up_as_torch_does_it(
    speed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(2)
    motion = speed * torch.randn(2, 4, 2, 3, generator=generator)
    sway = speed * torch.randn(2, 2 * SWAYS, 1, 1, generator=generator)
    luma = torch.rand(2, 8, 1, 64, 80, generator=generator)
    chroma = torch.rand(2, 8, 2, 32, 40, generator=generator)
    expected = luma.clone(), chroma.clone()
    analysis._line_up(luma, chroma, motion, sway)
    monkeypatch.setattr(analysis, "can_align", lambda _: False)
    analysis._line_up(*expected, motion, sway)
    torch.testing.assert_close((luma, chroma), expected, rtol=0, atol=1e-3)


@pytest.mark.skipif(library.kernels() is None, reason="no C compiler")
def test_cells_overlap_as_torch_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    luma, chroma = torch.rand(2, 8, 1, 48, 64), torch.rand(2, 8, 2, 24, 32)
    found = analysis._lapped(luma.clone(), chroma.clone())
    monkeypatch.setattr(analysis, "can_align", lambda _: False)
    torch.testing.assert_close(found, analysis._lapped(luma, chroma))


@pytest.mark.skipif(library.kernels() is None, reason="no C compiler")
@pytest.mark.parametrize("given", [3, 8])
def test_frames_are_read_as_torch_reads_them(given: int, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = torch.randint(256, (2, given, 35, 50, 3), dtype=torch.uint8).permute(0, 1, 4, 2, 3)
    found = analysis._half_luma(frames), *analysis._planes(frames)
    monkeypatch.setattr(analysis, "can_read", lambda _: False)
    expected = analysis._half_luma(frames), *analysis._planes(frames)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
