from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from hypernet.decoders.nerv import NervConfig, NervDecoder
from hypernet.weights import ClipShape
from tests.unit.hypernet.decoders.samples import random_weights

CONFIG = NervConfig(
    frequencies=4, hidden=6, widths=(7, 5, 3), strides=(2, 2), head_kernel=3, head_stride=4
)


def decoder(height: int, width: int, config: NervConfig = CONFIG) -> NervDecoder:
    return NervDecoder(config, ClipShape(frames=8, height=height, width=width))


def test_names_and_order_are_the_wire_order() -> None:
    specs = {spec.name: spec.shape for spec in decoder(33, 50).weight_specs()}
    assert list(specs.items()) == [
        ("stem.hidden.weight", (6, 8)),
        ("stem.hidden.bias", (6,)),
        ("stem.grid.weight", (84, 6)),
        ("stem.grid.bias", (84,)),
        ("stage0.weight", (20, 7, 3, 3)),
        ("stage0.bias", (20,)),
        ("stage1.weight", (12, 5, 3, 3)),
        ("stage1.bias", (12,)),
        ("head.weight", (48, 3, 3, 3)),
        ("head.bias", (48,)),
    ]


def test_an_odd_size_is_the_corner_of_the_padded_one() -> None:
    padded, odd = decoder(48, 64), decoder(33, 50)
    weights, times = random_weights(padded), torch.tensor([0.0, 5.0])
    assert odd.weight_specs() == padded.weight_specs()
    assert torch.equal(odd.render(weights, times), padded.render(weights, times)[..., :33, :50])


def test_frames_differ_in_time() -> None:
    nerv = decoder(16, 16)
    frames = nerv.render(random_weights(nerv), torch.arange(8).float())
    assert all(not torch.equal(a, b) for a, b in pairwise(frames))


def test_zero_weights_are_mid_grey() -> None:
    nerv = decoder(20, 20)
    weights = {spec.name: torch.zeros(spec.shape) for spec in nerv.weight_specs()}
    assert (nerv.render(weights, torch.zeros(1)) == 0.5).all()


def test_activation_bytes_grow_with_the_picture() -> None:
    assert decoder(480, 854).activation_bytes() > 4 * 4 * 480 * 854 * 3
    assert decoder(16, 16).activation_bytes() < decoder(480, 854).activation_bytes()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"widths": (7, 5)}, "one entry more"),
        ({"widths": (7, 0, 3)}, "widths"),
        ({"hidden": 4097}, "widths"),
        ({"strides": (2, 9)}, "strides"),
        ({"head_stride": 0}, "strides"),
        ({"head_kernel": 5}, "head_kernel"),
        ({"frequencies": 0}, "frequencies"),
    ],
)
def test_configurations_out_of_range_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(CONFIG, **changes)
