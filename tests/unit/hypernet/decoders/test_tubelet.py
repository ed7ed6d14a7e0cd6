from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hypernet.decoders.clip_motion import sways
from hypernet.decoders.spectrum import CLIP_FRAMES
from hypernet.decoders.tubelet import Tubelet, TubeletConfig, base_shapes
from hypernet.errors import MissingDecodeFile
from hypernet.predictor.cosine_kernels import cosine_kernels
from hypernet.weights import ClipShape
from tests.unit.hypernet.predictor.samples import SMALL, drifting

CONFIG = SMALL.decoder
TIMES = torch.arange(CLIP_FRAMES, dtype=torch.float32)


def _base(config: TubeletConfig = CONFIG) -> dict[str, Tensor]:
    return cosine_kernels(config)


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
    weights = _weights(decoder)
    for reference in ({}, {"reference": torch.rand(3, height, width)}):
        rendered = decoder.render({**weights, **reference}, TIMES[:frames])
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


@pytest.mark.parametrize("channels", [0, 63, 2561])
def test_sizes_out_of_range_are_refused(channels: int) -> None:
    with pytest.raises(ValueError, match=f"grid_channels is {channels}"):
        TubeletConfig(grid_channels=channels)


def test_rendering_without_a_decode_file_says_so() -> None:
    decoder = Tubelet(CONFIG, ClipShape(frames=1, height=16, width=16))
    with pytest.raises(MissingDecodeFile, match="decode file"):
        decoder.render(_weights(decoder), TIMES[:1])


def test_the_default_decoder_keeps_its_operations_budget() -> None:
    decoder = Tubelet(TubeletConfig(), ClipShape(frames=8, height=480, width=854))
    assert decoder.multiply_adds_per_pixel() <= 300


def test_a_key_clip_of_zeros_is_mid_grey() -> None:
    decoder = _decoder(8, 32, 48)
    frames = decoder.render(_weights(decoder, 0.0), TIMES)
    torch.testing.assert_close(frames, torch.full_like(frames, 0.5))


def test_the_reference_shows_where_the_gate_is_open() -> None:
    decoder = _decoder(8, 32, 64)
    weights = _weights(decoder, 0.0)
    weights["gate"][..., 2:] = 1.0
    # Smooth in both colour differences, which are kept at half size.
    reference = torch.linspace(0.2, 0.8, 64).expand(3, 32, -1)
    frames = decoder.render({**weights, "reference": reference}, TIMES)
    # Between the two, cells overlap.
    torch.testing.assert_close(frames[3, ..., :22], reference[..., :22], atol=0.02, rtol=0)
    torch.testing.assert_close(frames[3, ..., 40:], torch.full((3, 32, 24), 0.5))


def test_motion_moves_the_picture() -> None:
    decoder = _decoder(8, 64, 128)
    weights = _weights(decoder, 0.0)
    weights["motion"][0] = 7.0  # two pixels per frame to the right
    reference = drifting(1, 64, 128)[0]
    frames = decoder.render({**weights, "reference": reference}, TIMES)
    moved = (frames[7, ..., 30:-16] - frames[0, ..., 16:-30]).abs().mean()
    still = (frames[7, ..., 30:-16] - frames[0, ..., 30:-16]).abs().mean()
    assert float(moved) < 0.1 * float(still)


def test_sway_moves_the_picture() -> None:
    decoder = _decoder(8, 64, 128)
    weights = _weights(decoder, 0.0)
    # Frame 5 as far to the right as sways can say it of one frame alone.
    weights["sway"][::2] = 14 * sways()[5][:, None, None]
    reference = drifting(1, 64, 128)[0]
    frames = decoder.render({**weights, "reference": reference}, TIMES)
    far = round(14 * float(sways()[5].square().sum()))
    moved = (frames[5, ..., 16 + far : -16] - reference[..., 16 : -16 - far]).abs().mean()
    still = (frames[5] - reference)[..., 16 + far : -16].abs().mean()
    assert float(moved) < 0.1 * float(still)


@pytest.mark.usefixtures("without_kernels")
@pytest.mark.parametrize("name", ["motion", "sway"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e30])
def test_one_damaged_value_without_kernels_renders_a_picture(name: str, value: float) -> None:
    decoder = _decoder(8, 40, 150)
    weights = _weights(decoder)
    weights[name].view(-1)[3] = value
    frames = decoder.render({**weights, "reference": torch.rand(3, 40, 150)}, TIMES)
    assert torch.isfinite(frames).all()


def test_damaged_motion_renders_a_picture() -> None:
    decoder = _decoder(8, 32, 32)
    weights = _weights(decoder)
    weights["sway"].view(-1)[:5] = torch.tensor([float("nan"), float("inf"), -1e30, 1e9, 7.0])
    weights["motion"][:] = torch.tensor([float("nan"), float("inf"), -1e30, 1e9, 7.0, -7.0])[
        :, None, None
    ]
    frames = decoder.render({**weights, "reference": torch.rand(3, 32, 32)}, TIMES)
    assert torch.isfinite(frames).all()


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
