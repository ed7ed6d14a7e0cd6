from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypernet.decoders.nerv import NervDecoder
from hypernet.decoders.sizing import BITS_PER_WEIGHT, SizeTarget, nerv_config, num_weights
from hypernet.weights import ClipShape


def sized(clip: ClipShape, multiply_adds: float, bits: float) -> NervDecoder:
    target = SizeTarget(multiply_adds_per_pixel=multiply_adds, bits_per_pixel=bits)
    return NervDecoder(nerv_config(clip, target), clip)


def test_num_weights_counts_what_is_sent() -> None:
    decoder = sized(ClipShape(frames=8, height=64, width=64), 1000, 0.1)
    assert num_weights(decoder) == sum(spec.size for spec in decoder.weight_specs())


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(64, 1200),
    width=st.integers(64, 2000),
    multiply_adds=st.sampled_from([1000, 2000, 5000, 10_000]),
)
def test_decoding_stays_within_the_budget(height: int, width: int, multiply_adds: int) -> None:
    decoder = sized(ClipShape(frames=64, height=height, width=width), multiply_adds, 10.0)
    assert decoder.multiply_adds_per_pixel() <= multiply_adds


@pytest.mark.parametrize("size", [(144, 176), (480, 854), (720, 1280)])
@pytest.mark.parametrize("bits", [0.02, 0.05, 0.2])
def test_weights_stay_within_the_rate(size: tuple[int, int], bits: float) -> None:
    clip = ClipShape(frames=64, height=size[0], width=size[1])
    assert num_weights(sized(clip, 1e9, bits)) <= bits * clip.pixels / BITS_PER_WEIGHT


def test_more_bits_give_more_weights() -> None:
    clip = ClipShape(frames=64, height=480, width=854)
    counts = [num_weights(sized(clip, 10_000, bits)) for bits in (0.01, 0.02, 0.05, 0.1, 0.2)]
    assert counts == sorted(set(counts))


@settings(max_examples=60, deadline=None)
@given(
    frames=st.integers(1, 64),
    height=st.integers(1, 2200),
    width=st.integers(1, 4096),
    bits=st.floats(0.001, 1.0),
)
def test_any_clip_gets_a_decoder(frames: int, height: int, width: int, bits: float) -> None:
    clip = ClipShape(frames=frames, height=height, width=width)
    assert sized(clip, 5000, bits).config.scale >= 1
