from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from hypernet.decoders.srnerv import SrNervConfig, SrNervDecoder
from hypernet.weights import ClipShape
from tests.unit.hypernet.decoders.samples import random_weights

CONFIG = SrNervConfig(
    frequencies=4, hidden=6, width=5, mixer_width=9, kernel=3, scales=3, head_stride=2
)
CLIP = ClipShape(frames=8, height=33, width=50)


def names(config: SrNervConfig) -> list[str]:
    return [spec.name for spec in SrNervDecoder(config, CLIP).weight_specs()]


def test_the_channel_mixer_is_sent_once_and_a_spatial_mixer_per_scale() -> None:
    assert [name for name in names(CONFIG) if name.endswith("weight")] == [
        "stem.hidden.weight",
        "stem.grid.weight",
        "mixer.inner.weight",
        "mixer.outer.weight",
        "spatial0.weight",
        "spatial1.weight",
        "spatial2.weight",
        "head.weight",
    ]


def test_unshared_is_the_same_network_with_copies_of_the_mixer() -> None:
    shared = SrNervDecoder(CONFIG, CLIP)
    unshared = SrNervDecoder(replace(CONFIG, shared=0), CLIP)
    weights = random_weights(shared)
    copies = {
        spec.name: weights["mixer" + spec.name[len("mixer0") :]]
        if spec.name.startswith("mixer")
        else weights[spec.name]
        for spec in unshared.weight_specs()
    }
    assert len(copies) == len(weights) + 2 * 4
    times = torch.tensor([0.0, 3.0])
    assert torch.equal(unshared.render(copies, times), shared.render(weights, times))
    assert unshared.multiply_adds_per_pixel() == shared.multiply_adds_per_pixel()


def test_the_shared_mixer_works_at_every_scale() -> None:
    decoder = SrNervDecoder(CONFIG, ClipShape(frames=8, height=48, width=64))
    weights = dict(random_weights(decoder))
    before = decoder.render(weights, torch.zeros(1))
    for i in range(CONFIG.scales):
        silent = {**weights, f"spatial{i}.weight": 0 * weights[f"spatial{i}.weight"]}
        assert not torch.equal(decoder.render(silent, torch.zeros(1)), before)


def test_an_odd_size_is_the_corner_of_the_padded_one() -> None:
    padded = SrNervDecoder(CONFIG, ClipShape(frames=8, height=48, width=64))
    odd = SrNervDecoder(CONFIG, CLIP)
    weights, times = random_weights(padded), torch.tensor([0.0, 5.0])
    assert odd.weight_specs() == padded.weight_specs()
    assert torch.equal(odd.render(weights, times), padded.render(weights, times)[..., :33, :50])


def test_frames_differ_in_time() -> None:
    decoder = SrNervDecoder(CONFIG, CLIP)
    frames = decoder.render(random_weights(decoder), torch.arange(8).float())
    assert all(not torch.equal(a, b) for a, b in pairwise(frames))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 0}, "widths"),
        ({"mixer_width": 4097}, "widths"),
        ({"head_stride": 9}, "strides"),
        ({"kernel": 4}, "kernel"),
        ({"shared": 2}, "shared"),
        ({"scales": 13}, "scales"),
    ],
)
def test_configurations_out_of_range_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(CONFIG, **changes)
