from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hypernet.decoders.tubelet import (
    CLIP_FRAMES,
    COLOUR_VALUES,
    Tubelet,
    TubeletConfig,
    base_shapes,
    temporal_cosines,
)
from hypernet.errors import MissingDecodeFile
from hypernet.predictor.initial_kernels import ColourTransform, initial_base
from hypernet.weights import ClipShape

CONFIG = TubeletConfig(
    grid_channels=24,
    tile_channels=8,
    trunk_width=8,
    canvas_width=2,
    frame_width=8,
    detail_width=4,
    head_width=8,
)
TIMES = torch.arange(CLIP_FRAMES, dtype=torch.float32)


def _base(config: TubeletConfig = CONFIG) -> dict[str, Tensor]:
    return initial_base(config, torch.Generator().manual_seed(3))


def _decoder(frames: int, height: int, width: int) -> Tubelet:
    return Tubelet(CONFIG, ClipShape(frames=frames, height=height, width=width), _base())


def _weights(decoder: Tubelet, spread: float = 0.3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(4)
    return {
        spec.name: torch.randn(spec.shape, generator=generator) * spread
        for spec in decoder.weight_specs()
    }


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 8), st.integers(1, 97), st.integers(1, 97))
def test_any_size_is_rendered_exactly(frames: int, height: int, width: int) -> None:
    decoder = _decoder(frames, height, width)
    rendered = decoder.render(_weights(decoder), TIMES[:frames])
    assert rendered.shape == (frames, 3, height, width)
    assert rendered.dtype == torch.float32
    assert 0 <= float(rendered.min()) <= float(rendered.max()) <= 1


def test_a_frame_depends_on_its_own_time_only() -> None:
    decoder = _decoder(8, 48, 80)
    weights = _weights(decoder)
    together = decoder.render(weights, TIMES)
    alone = decoder.render(weights, TIMES[5:6])
    torch.testing.assert_close(alone[0], together[5], atol=1e-5, rtol=0)
    assert float((together[5] - together[2]).abs().max()) > 0.01


def test_times_between_frames_lie_between_them() -> None:
    decoder = _decoder(8, 32, 32)
    weights = _weights(decoder, 0.1)
    before, middle, after = decoder.render(weights, torch.tensor([3.0, 3.5, 4.0]))
    assert float((middle - (before + after) / 2).abs().mean()) < 0.02


def test_more_than_eight_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 8 frames"):
        _decoder(9, 16, 16)


def test_sizes_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="trunk_width is 0"):
        TubeletConfig(trunk_width=0)


def test_rendering_without_a_decode_file_says_so() -> None:
    decoder = Tubelet(CONFIG, ClipShape(frames=1, height=16, width=16))
    with pytest.raises(MissingDecodeFile, match="decode file"):
        decoder.render(_weights(decoder), TIMES[:1])


def test_the_default_decoder_keeps_its_operations_budget() -> None:
    decoder = Tubelet(TubeletConfig(), ClipShape(frames=8, height=480, width=854))
    assert decoder.multiply_adds_per_pixel() <= 3000


def test_counted_operations_are_those_of_the_layers() -> None:
    decoder = _decoder(1, 64, 64)
    counted = 0
    convolve = torch.nn.functional.conv2d

    def counting(x: Tensor, weight: Tensor, bias: Tensor | None = None, **options: int) -> Tensor:
        nonlocal counted
        out = convolve(x, weight, bias, **options)
        counted += weight[0].numel() * out.numel()
        return out

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "conv2d", counting)
        decoder.render(_weights(decoder), TIMES[:1])
    assert decoder.multiply_adds_per_pixel() == pytest.approx(counted / 64**2)


def test_no_tile_border_shows_where_tiles_differ() -> None:
    decoder = _decoder(1, 192, 1024)
    weights = _weights(decoder, 0.0)
    weights["grid"] += 0.1
    weights["tiles"] = _weights(decoder, 2.0)["tiles"]
    frame = decoder.render(weights, TIMES[:1])[0]
    change = (frame[..., 1:] - frame[..., :-1]).abs().mean((0, 1))
    borders, cells = change[63::64], change[15::16]
    assert float(change.min()) > 0
    # Against columns of the same pixel-shuffle phase, away from the frame's own border.
    assert float(borders.mean()) <= 1.05 * float(cells[1:-1].mean())


def test_predicted_velocity_moves_the_picture() -> None:
    base = _base()
    for name in base:
        if name.startswith(("frame_out", "colour", "gains", "motion", "lift")):
            base[name] = torch.zeros_like(base[name])
    base["gains.weight"][-4, 0] = 1.0  # the first tile value is the horizontal velocity
    base["head_out.bias"] += 0.5
    base["head_out.weight"] *= 20
    decoder = Tubelet(CONFIG, ClipShape(frames=8, height=64, width=128), base)
    weights = _weights(decoder)
    weights["tiles"] = torch.zeros_like(weights["tiles"])
    weights["tiles"][0] = 1.0
    first, last = decoder.render(weights, TIMES[[0, 7]])
    # A velocity of one is 8 pixels either way from the middle of the clip: 16 in all, to the left.
    moved = (last[..., 16:-32] - first[..., 32:-16]).abs().mean()
    still = (last[..., 16:-32] - first[..., 16:-32]).abs().mean()
    assert float(moved) < 0.2 * float(still)


def test_the_cosine_transform_is_orthonormal_and_complete() -> None:
    rows = ColourTransform.for_channels(COLOUR_VALUES).rows
    torch.testing.assert_close(rows @ rows.T, torch.eye(COLOUR_VALUES), atol=1e-5, rtol=0)
    waves = temporal_cosines(TIMES)
    torch.testing.assert_close(waves.T @ waves, torch.eye(CLIP_FRAMES), atol=1e-5, rtol=0)


def test_the_decoder_starts_by_inverting_the_transform() -> None:
    config = TubeletConfig(grid_channels=COLOUR_VALUES // 4)
    transform = ColourTransform.for_channels(config.grid_channels)
    base = _base(config)
    decoder = Tubelet(config, ClipShape(frames=8, height=64, width=64), base)
    weights = {spec.name: torch.zeros(spec.shape) for spec in decoder.weight_specs()}
    flat = decoder.render(weights, TIMES)
    torch.testing.assert_close(flat, torch.full_like(flat, 0.5), atol=0.02, rtol=0)
    weights["grid"][transform.means[0]] = 1.0
    bright = decoder.render(weights, TIMES) - flat
    assert float(bright.min()) > 0
    assert float(bright.std()) < 0.1 * float(bright.mean())


def test_tiles_shift_the_grid_they_cover() -> None:
    decoder = _decoder(8, 64, 64)
    weights = _weights(decoder, 0.0)
    dark = decoder.render(weights, TIMES)
    weights["tiles"][0] = 1.0
    lifted = decoder.render(weights, TIMES)
    assert float((lifted - dark).mean()) > 0.01


def test_shipped_kernels_fit_the_decode_file() -> None:
    numbers = sum(torch.Size(shape).numel() for shape in base_shapes(TubeletConfig()).values())
    assert 2 * numbers < 900_000


def test_decoding_imports_neither_timm_nor_torchvision() -> None:
    program = (
        "import sys, hypernet.decoders.tubelet, hypernet.decoders.learned_coding,"
        " hypernet.decoders.decode_file;"
        "sys.exit(bool({'timm', 'torchvision'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
