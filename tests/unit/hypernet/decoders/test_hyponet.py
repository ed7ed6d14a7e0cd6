from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from hypernet.decoders.hyponet import Hyponet, base_shapes
from hypernet.decoders.hyponet_layers import modulated
from hypernet.errors import MissingDecodeFile
from hypernet.weights import ClipShape
from tests.unit.hypernet.decoders.samples import BASES, HYPONET, random_weights

TILED = HYPONET
WHOLE = replace(TILED, whole_frame=1)
BASE = BASES[Hyponet.wire_id]
CLIP = ClipShape(frames=8, height=40, width=70)


def test_filters_keep_the_shipped_norm_whatever_is_sent() -> None:
    kernel = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    factors = torch.randn(5, 2, 36, generator=torch.Generator().manual_seed(1))
    filters = modulated(kernel, factors)
    assert filters.shape == (5, 6, 4, 3, 3)
    norms = kernel.flatten(1).norm(dim=1).expand(5, -1)
    torch.testing.assert_close(filters.flatten(2).norm(dim=2), norms)


def test_equal_factors_leave_the_shipped_filters() -> None:
    kernel = torch.randn(6, 4, 1, 1, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(modulated(kernel, torch.ones(1, 3, 4))[0], kernel)


def test_neighbouring_filters_share_a_row_of_factors() -> None:
    factors = torch.rand(1, 2, 4, generator=torch.Generator().manual_seed(0))
    filters = modulated(torch.ones(6, 4, 1, 1), factors)[0].flatten(1)
    assert torch.equal(filters[0], filters[2])
    assert torch.equal(filters[3], filters[5])
    assert not torch.equal(filters[2], filters[3])


def test_tiles_carry_weights_of_their_own() -> None:
    decoder = Hyponet(TILED, CLIP, BASE)
    weights = random_weights(decoder)
    assert [spec.shape for spec in decoder.weight_specs()] == [(9, 8, 6), (16, 9, 6), (4, 36, 6)]
    before = decoder.render(weights, torch.zeros(1))[0]
    changed = {name: value.clone() for name, value in weights.items()}
    changed["layer1.factors"][..., 0] += 1
    difference = (decoder.render(changed, torch.zeros(1))[0] - before).abs().amax(0)
    assert difference[:20, :20].max() > 0.01
    assert difference[32:].max() == difference[:, 32:].max() == 0


def test_a_whole_frame_is_one_tile_at_any_size() -> None:
    small = Hyponet(WHOLE, replace(CLIP, height=32, width=32), BASE)
    large = Hyponet(WHOLE, replace(CLIP, height=96, width=64), BASE)
    assert small.weight_specs() == large.weight_specs()
    weights = random_weights(small)
    shown = large.render(weights, torch.tensor([3.0]))
    assert shown.shape == (1, 3, 96, 64)
    shrunk = torch.nn.functional.interpolate(shown, size=(32, 32), mode="area")
    assert (shrunk - small.render(weights, torch.tensor([3.0]))).abs().mean() < 0.04


def test_frames_of_a_clip_differ_in_time() -> None:
    decoder = Hyponet(TILED, CLIP, BASE)
    first, between, last = decoder.render(random_weights(decoder), torch.tensor([0.0, 3.5, 7.0]))
    assert (first - last).abs().mean() > 0.01
    assert (first - between).abs().mean() < (first - last).abs().mean()


def test_rendering_needs_the_decode_file() -> None:
    decoder = Hyponet(TILED, CLIP)
    with pytest.raises(MissingDecodeFile, match="decode file"):
        decoder.render(random_weights(decoder), torch.zeros(1))


def test_a_clip_has_at_most_eight_frames() -> None:
    with pytest.raises(ValueError, match="at most 8 frames"):
        Hyponet(TILED, replace(CLIP, frames=9))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"widths": (9, 4, 5, 4)}, "the last has 3"),
        ({"kernels": (1, 1, 3)}, "one entry of each list"),
        ({"kernels": (1, 1, 5, 3)}, "kernels must be"),
        ({"factor_rows": (0, 0, 0, 0)}, "no layer"),
        ({"factor_rows": (9, 5, 4, 0)}, "5 factor rows for 16 filters"),
        ({"frequencies": 0}, "frequencies"),
        ({"whole_frame": 2}, "whole_frame"),
        ({"strides_down": (2, 2, 4, 64)}, "strides"),
        ({"widths": (5000, 4, 5, 3)}, "widths"),
    ],
)
def test_sizes_out_of_range_are_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        replace(TILED, **change)


def test_initial_kernels_have_the_shapes_that_are_shipped() -> None:
    assert {name: tuple(value.shape) for name, value in BASE.items()} == base_shapes(TILED)
