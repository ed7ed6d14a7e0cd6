from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from hypernet.decoders.nerv_plus import NervPlusConfig, NervPlusDecoder
from hypernet.weights import ClipShape
from tests.unit.hypernet.decoders.samples import random_weights

CONFIG = NervPlusConfig(
    frequencies=4,
    hidden=6,
    widths=(7, 5, 3),
    strides=(2, 2),
    kernel=5,
    head_kernel=3,
    head_stride=4,
)


def decoder(height: int, width: int) -> NervPlusDecoder:
    return NervPlusDecoder(CONFIG, ClipShape(frames=8, height=height, width=width))


def test_a_stage_is_entry_block_upsampling_block() -> None:
    specs = {spec.name: spec.shape for spec in decoder(33, 50).weight_specs()}
    stage = [(name, shape) for name, shape in specs.items() if name.startswith("stage0")]
    assert [item for item in stage if item[0].endswith("weight")] == [
        ("stage0.entry.weight", (5, 7, 1, 1)),
        ("stage0.before.spatial.weight", (5, 1, 5, 5)),
        ("stage0.before.inner.weight", (5, 5, 1, 1)),
        ("stage0.before.outer.weight", (5, 5, 1, 1)),
        ("stage0.up.weight", (20, 5, 3, 3)),
        ("stage0.after.spatial.weight", (5, 1, 5, 5)),
        ("stage0.after.inner.weight", (5, 5, 1, 1)),
        ("stage0.after.outer.weight", (5, 5, 1, 1)),
    ]


def test_the_skip_enlarges_what_enters_a_stage() -> None:
    plus = decoder(32, 32)
    silent = (".up.", ".outer.", ".after.spatial")
    weights = {
        name: 0 * value if any(part in name for part in silent) else value
        for name, value in random_weights(plus).items()
    }
    frame = plus.render(weights, torch.zeros(1))
    assert frame.std() > 0  # nothing but the skips leads to the head
    for i in range(2):
        weights[f"stage{i}.entry.weight"] = torch.zeros_like(weights[f"stage{i}.entry.weight"])
        weights[f"stage{i}.entry.bias"] = torch.zeros_like(weights[f"stage{i}.entry.bias"])
    flat = plus.render(weights, torch.zeros(1))
    assert torch.equal(flat[..., ::4, ::4], flat[..., :1, :1].expand(1, 3, 8, 8))


def test_an_odd_size_is_the_corner_of_the_padded_one() -> None:
    padded, odd = decoder(48, 64), decoder(33, 50)
    weights, times = random_weights(padded), torch.tensor([0.0, 5.0])
    assert odd.weight_specs() == padded.weight_specs()
    assert torch.equal(odd.render(weights, times), padded.render(weights, times)[..., :33, :50])


def test_frames_differ_in_time() -> None:
    plus = decoder(16, 16)
    frames = plus.render(random_weights(plus), torch.arange(8).float())
    assert all(not torch.equal(a, b) for a, b in pairwise(frames))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"widths": (7, 5)}, "one entry more"),
        ({"widths": (7, 0, 3)}, "widths"),
        ({"strides": (2, 9)}, "strides"),
        ({"head_kernel": 5}, "head_kernel"),
        ({"kernel": 4}, "kernel"),
        ({"frequencies": 97}, "frequencies"),
    ],
)
def test_configurations_out_of_range_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(CONFIG, **changes)
