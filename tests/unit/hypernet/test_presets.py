from __future__ import annotations

import pytest

from hypernet.decoders import ARCHITECTURES, Decoder, build_decoder, config_to_fields
from hypernet.errors import InvalidSettings
from hypernet.preset import Preset
from hypernet.preset_names import DEFAULT_PRESET, PRESET_NAMES
from hypernet.presets import PRESETS, find_preset, rate_factor, rate_weight
from hypernet.weights import ClipShape

KILO_MULTIPLY_ADDS = {"s": 2, "m": 5, "l": 10}
SIZES = [(854, 480), (1920, 1080), (176, 144), (1280, 720), (320, 180), (480, 854), (427, 241)]


def decoder_of(
    preset: Preset, width: int, height: int, quality: int = 50, frames: int = 64
) -> Decoder:
    frames = min(frames, 8 if preset.predictor else preset.clip_frames or frames)
    clip = ClipShape(frames=frames, height=height, width=width)
    fields = config_to_fields(preset.configure(clip, rate_factor(quality)))
    return build_decoder(preset.decoder, fields, clip)


def test_names_are_listed_without_torch() -> None:
    assert tuple(PRESETS) == PRESET_NAMES
    assert all(preset.name == name for name, preset in PRESETS.items())
    assert DEFAULT_PRESET in PRESETS


@pytest.mark.parametrize("family", ["nerv", "nerv-plus", "srnerv"])
@pytest.mark.parametrize("size", "sml")
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_fitted_presets_decode_within_their_budget(
    family: str, size: str, width: int, height: int
) -> None:
    decoder = decoder_of(find_preset(f"{family}-{size}"), width, height)
    assert decoder.multiply_adds_per_pixel() <= 1000 * KILO_MULTIPLY_ADDS[size]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_nirvana_decodes_in_less_than_the_middle_sizes(width: int, height: int) -> None:
    assert decoder_of(find_preset("nirvana"), width, height).multiply_adds_per_pixel() <= 5000


@pytest.mark.parametrize("name", ["nerv-enc", "teconerv"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_published_predicted_presets_decode_cheaply(name: str, width: int, height: int) -> None:
    # A whole frame is rendered at one size, which is three times the smallest of these.
    decoder = decoder_of(find_preset(name), width, height)
    assert decoder.multiply_adds_per_pixel() <= 5000


def test_a_group_is_as_short_as_the_longest_segment() -> None:
    few = decoder_of(find_preset("nirvana"), 320, 180, frames=3)
    many = decoder_of(find_preset("nirvana"), 320, 180, frames=64)
    assert (few.clip.frames, many.clip.frames) == (3, 8)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("quality", [1, 50, 100])
def test_every_preset_configures_any_size(name: str, quality: int) -> None:
    for width, height in [(1, 1), (97, 3), (8192, 2), (1280, 720)]:
        assert decoder_of(find_preset(name), width, height, quality).weight_specs()


@pytest.mark.parametrize(
    "name", ["nerv-s", "nerv-m", "nerv-l", "nerv-plus-m", "srnerv-m", "nirvana"]
)
def test_quality_grows_the_weights(name: str) -> None:
    counts = [
        sum(s.size for s in decoder_of(find_preset(name), 854, 480, q).weight_specs())
        for q in (10, 30, 50)
    ]
    assert counts == sorted(set(counts))


def test_quality_50_is_the_presets_own_point() -> None:
    assert rate_factor(50) == 1
    factors = [rate_factor(quality) for quality in range(1, 101)]
    assert factors == sorted(set(factors))


def test_presets_are_found_by_their_names() -> None:
    assert all(find_preset(name).name == name for name in PRESETS)
    assert all(preset.decoder in ARCHITECTURES for preset in PRESETS.values())
    assert DEFAULT_PRESET in PRESETS
    assert {"debug", "nerv-s", "nerv-m", "nerv-l"} <= PRESETS.keys()


def test_an_unknown_preset_lists_those_that_exist() -> None:
    with pytest.raises(InvalidSettings) as caught:
        find_preset("best")
    assert all(name in str(caught.value) for name in PRESETS)


def test_steps_follow_the_length_of_the_segment() -> None:
    preset = find_preset("nerv-s")
    assert preset.steps(128, 2) == 2 * preset.steps(64, 2) == 2 * preset.steps(128, 4)
    assert preset.steps(1, 2) == preset.steps(3, 2) == 300
    assert find_preset("debug").steps(1, 2) == 1


@pytest.mark.parametrize("quality", [20, 50, 80])
def test_a_bit_has_the_price_of_the_bits_aimed_at(quality: int) -> None:
    preset = find_preset("nerv-s")
    decoder = decoder_of(preset, 854, 480, quality)
    expected = preset.rate_weight * rate_factor(quality) ** -1.5
    assert rate_weight(preset, quality, decoder) == pytest.approx(expected)


def test_a_network_that_is_larger_than_aimed_at_has_cheaper_bits() -> None:
    preset = find_preset("nerv-s")
    three, one = (decoder_of(preset, 96, 64, frames=n) for n in (3, 1))
    assert three.weight_specs() == one.weight_specs()
    assert rate_weight(preset, 50, three) < 0.1 * preset.rate_weight
    assert rate_weight(preset, 50, one) == pytest.approx(rate_weight(preset, 50, three) / 3**1.5)
