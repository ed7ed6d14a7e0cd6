from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from hypernet.decoders import build_decoder, config_to_fields
from hypernet.decoders.nirvana import NirvanaConfig, NirvanaDecoder
from hypernet.errors import InvalidStream
from hypernet.weights import ClipShape
from tests.unit.hypernet.decoders.samples import random_weights

CONFIG = NirvanaConfig(group_frames=8, patch=4, stride=2, hidden=10, layers=2, channels=3, width=4)


def decoder(height: int, width: int, frames: int = 8) -> NirvanaDecoder:
    return NirvanaDecoder(CONFIG, ClipShape(frames=frames, height=height, width=width))


def test_what_is_sent_does_not_depend_on_the_size() -> None:
    shapes = {
        tuple((spec.name, spec.shape) for spec in decoder(*size).weight_specs())
        for size in [(180, 320), (720, 1280), (1, 1), (5, 90)]
    }
    assert len(shapes) == 1
    assert shapes == {tuple((s.name, s.shape) for s in decoder(9, 9, frames=1).weight_specs())}


def test_one_network_shows_any_resolution() -> None:
    weights = random_weights(decoder(64, 96))
    small = decoder(64, 96).render(weights, torch.zeros(1))
    large = decoder(128, 192).render(weights, torch.zeros(1))
    assert small.shape == (1, 3, 64, 96)
    assert large.shape == (1, 3, 128, 192)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (7, 40)])
def test_a_picture_smaller_than_a_patch_is_its_corner(size: tuple[int, int]) -> None:
    height, width = size
    padded = decoder(8, -(-width // 8) * 8)
    weights = random_weights(padded)
    whole = padded.render(weights, torch.arange(8.0))
    assert torch.equal(
        decoder(height, width).render(weights, torch.arange(8.0)), whole[..., :height, :width]
    )


def test_a_short_group_shows_the_first_frames() -> None:
    full, short = decoder(24, 24), decoder(24, 24, frames=3)
    weights = random_weights(full)
    expected = full.render(weights, torch.arange(8.0))[:3]
    torch.testing.assert_close(short.render(weights, torch.arange(3.0)), expected)


def test_frames_differ_by_their_own_convolutions() -> None:
    nirvana = decoder(16, 16)
    weights = dict(random_weights(nirvana))
    frames = nirvana.render(weights, torch.arange(8.0))
    assert all(not torch.equal(a, b) for a, b in pairwise(frames))
    weights["frame.weight"] = weights["frame.weight"].clone()
    weights["frame.weight"][2 * CONFIG.width : 3 * CONFIG.width] += 1
    changed = (nirvana.render(weights, torch.arange(8.0)) != frames).flatten(1).any(dim=1)
    assert changed.tolist() == [number == 2 for number in range(8)]


@pytest.mark.parametrize("layer", ["frame", "head"])
def test_the_latent_decoder_makes_filters_of_latents(layer: str) -> None:
    nirvana, times = decoder(16, 16), torch.arange(8.0)
    weights = dict(random_weights(nirvana))
    change = torch.randn(9, 9, generator=torch.Generator().manual_seed(1))
    latents = weights[f"{layer}.weight"]
    decoded = torch.einsum("oik,kw->oiw", latents.flatten(2), torch.eye(9) + change)
    plain = {
        f"{layer}.weight": decoded.view_as(latents),
        f"{layer}.latent_decoder": torch.zeros(9, 9),
    }
    torch.testing.assert_close(
        nirvana.render(weights | {f"{layer}.latent_decoder": change}, times),
        nirvana.render(weights | plain, times),
    )


def test_a_fit_starts_with_latents_that_are_weights() -> None:
    specs = {spec.name: spec for spec in decoder(16, 16).weight_specs()}
    for layer in ("frame", "head"):
        spec = specs[f"{layer}.latent_decoder"]
        assert (spec.init_mean, spec.init_std) == (0.0, 0.0)


def test_binding_runs_the_trunk_once() -> None:
    nirvana = decoder(30, 41)
    weights, times = random_weights(nirvana), torch.tensor([1.0, 6.0])
    bound = nirvana.bind(weights)
    assert torch.equal(bound(times), nirvana.render(weights, times))


def test_clips_of_many_streams_render_in_one_batch() -> None:
    nirvana = decoder(16, 24)
    weights = [random_weights(nirvana, seed) for seed in (0, 1)]
    batch = {name: torch.stack([w[name] for w in weights]) for name in weights[0]}
    times_BN = torch.tensor([[0.0, 5.0], [2.0, 7.0]])
    together = torch.vmap(nirvana.render)(batch, times_BN)
    for i, each in enumerate(weights):
        torch.testing.assert_close(together[i], nirvana.render(each, times_BN[i]))


def test_a_clip_longer_than_a_group_is_refused() -> None:
    clip = ClipShape(frames=9, height=16, width=16)
    with pytest.raises(InvalidStream, match="9 frames in a group of 8"):
        build_decoder(NirvanaDecoder.wire_id, config_to_fields(CONFIG), clip)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden": 0}, "widths"),
        ({"width": 4097}, "widths"),
        ({"patch": 33}, "patch"),
        ({"stride": 9}, "stride"),
        ({"group_frames": 65}, "group"),
        ({"layers": 9}, "layers"),
    ],
)
def test_configurations_out_of_range_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(CONFIG, **changes)
