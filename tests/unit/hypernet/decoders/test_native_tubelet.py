from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest
import torch
from torch import Tensor

from hypernet.crop import Crop
from hypernet.decoders.native_tubelet import NativeClip, SparseGrid
from hypernet.decoders.tubelet import Tubelet, TubeletConfig
from hypernet.native import library
from hypernet.predictor.cosine_kernels import cosine_kernels
from hypernet.weights import ClipShape

TIMES = torch.tensor([0.0, 7.0, 3.0, 2.25])
ROUNDING = 1e-4

pytestmark = pytest.mark.skipif(library.kernels() is None, reason="there was no C compiler")


@contextmanager
def kernels_absent() -> Iterator[None]:
    with mock.patch.object(library, "kernels", return_value=None):
        yield


def decoder_of(height: int, width: int) -> Tubelet:
    config = TubeletConfig(grid_channels=96)
    generator = torch.Generator().manual_seed(3)
    base = {
        name: value + 0.05 * torch.randn(value.shape, generator=generator)
        for name, value in cosine_kernels(config).items()
    }
    return Tubelet(config, ClipShape(frames=8, height=height, width=width), base)


def weights_of(decoder: Tubelet, *, reference: bool = False) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(4)
    spread = {"motion": 20.0, "sway": 8.0, "gate": 0.6, "grid": 0.3}
    weights = {
        spec.name: torch.randn(spec.shape, generator=generator) * spread[spec.name]
        for spec in decoder.weight_specs()
    }
    weights["grid"] *= torch.rand(weights["grid"].shape, generator=generator) < 0.1
    if reference:
        size = (3, decoder.clip.height, decoder.clip.width)
        weights["reference"] = torch.rand(size, generator=generator)
    return weights


def network_of(decoder: Tubelet, weights: dict[str, Tensor]) -> NativeClip:
    return decoder.native(SparseGrid.of_dense(weights["grid"]), weights)


def by_torch(decoder: Tubelet, weights: dict[str, Tensor], times_N: Tensor = TIMES) -> Tensor:
    with kernels_absent():
        return decoder.render(weights, times_N)


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (37, 50), (70, 129), (240, 90), (150, 280)])
def test_frames_are_those_of_torch(size: tuple[int, int], reference: bool) -> None:
    decoder = decoder_of(*size)
    weights = weights_of(decoder, reference=reference)
    network = decoder.bind(weights)
    assert isinstance(network, NativeClip)
    torch.testing.assert_close(network(TIMES), by_torch(decoder, weights), rtol=0, atol=ROUNDING)


def test_gradients_are_left_to_torch() -> None:
    decoder = decoder_of(32, 32)
    weights = weights_of(decoder)
    weights["grid"].requires_grad_()
    (gradient,) = torch.autograd.grad(decoder.render(weights, TIMES).sum(), weights["grid"])
    assert float(gradient.abs().max()) > 0


def test_one_frame_alone_is_the_same() -> None:
    decoder = decoder_of(64, 96)
    weights = weights_of(decoder, reference=True)
    for time in TIMES[:, None]:
        alone = decoder.render(weights, time)
        torch.testing.assert_close(alone, by_torch(decoder, weights, time), rtol=0, atol=ROUNDING)


def test_a_clip_in_which_nothing_moves_or_shows_is_the_same() -> None:
    decoder = decoder_of(64, 96)
    for names in (("motion",), ("sway",), ("motion", "sway"), ("grid",)):
        weights = weights_of(decoder, reference=True)
        for name in names:
            weights[name].zero_()
        torch.testing.assert_close(
            decoder.render(weights, TIMES), by_torch(decoder, weights), rtol=0, atol=ROUNDING
        )


def test_levels_are_rounded_values() -> None:
    decoder = decoder_of(37, 50)
    network = network_of(decoder, weights_of(decoder))
    values = network(TIMES).permute(0, 2, 3, 1)
    exact = values.mul(255).add(0.5).floor()
    assert torch.equal(network.levels(TIMES), exact.to(torch.uint8))


@pytest.mark.parametrize(
    "part",
    [
        Crop(top=0, left=0, height=70, width=129),
        Crop(top=3, left=17, height=20, width=31),
        Crop(top=69, left=128, height=1, width=1),
    ],
)
def test_a_part_of_a_frame_is_that_of_the_whole(part: Crop) -> None:
    decoder = decoder_of(70, 129)
    network = network_of(decoder, weights_of(decoder))
    out = torch.empty(3, part.height, part.width, dtype=torch.uint8)
    network.draw(3.0, part, out)
    whole = network.levels(torch.tensor([3.0]))[0].permute(2, 0, 1)
    assert torch.equal(out, part.of(whole))


def test_a_part_that_does_not_fit_is_refused() -> None:
    decoder = decoder_of(32, 32)
    network = network_of(decoder, weights_of(decoder))
    part = Crop(top=0, left=0, height=8, width=8)
    for out in (torch.empty(3, 8, 9, dtype=torch.uint8), torch.empty(3, 8, 8)):
        with pytest.raises(ValueError, match=r"does not fit|cannot read"):
            network.draw(0.0, part, out)
    beyond = Crop(top=30, left=0, height=8, width=8)
    with pytest.raises(ValueError, match="does not lie"):
        network.draw(0.0, beyond, torch.empty(3, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -3e38])
@pytest.mark.parametrize("name", ["motion", "sway", "gate", "grid", "reference"])
def test_weights_that_are_no_numbers_do_no_harm(name: str, value: float) -> None:
    decoder = decoder_of(37, 50)
    weights = weights_of(decoder, reference=True)
    weights[name].view(-1)[::3] = value
    levels = network_of(decoder, weights).levels(TIMES)
    assert levels.shape == (len(TIMES), 37, 50, 3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -3e38])
@pytest.mark.parametrize("name", ["motion", "sway"])
def test_motion_that_is_no_number_is_that_of_torch(name: str, value: float) -> None:
    decoder = decoder_of(70, 290)
    weights = weights_of(decoder)
    weights[name].view(-1)[5] = value
    expected = by_torch(decoder, weights)
    assert torch.isfinite(expected).all()
    torch.testing.assert_close(decoder.render(weights, TIMES), expected, rtol=0, atol=ROUNDING)
