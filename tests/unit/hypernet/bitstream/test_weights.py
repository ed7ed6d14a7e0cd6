from __future__ import annotations

from collections.abc import Callable

import brotli
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hypernet.bitstream.entropy import MAX_MAGNITUDE, SymbolEncoder
from hypernet.bitstream.planning import estimate_bits, plan_tensor
from hypernet.bitstream.tables import TABLES_PATH
from hypernet.bitstream.weights import decode_weights, encode_weights
from hypernet.errors import EncodeFailed, InvalidStream
from hypernet.weights import WeightSpec
from tests.unit.hypernet.bitstream.reference_decoder import ClipDecoder
from tests.unit.hypernet.bitstream.samples import sample_segment, sample_specs

Values = NDArray[np.int32]


def spec_of(values: Values, name: str = "w") -> WeightSpec:
    return WeightSpec(name=name, shape=values.shape, init_std=1.0)


def rounded(values: NDArray[np.float64]) -> Values:
    return np.rint(values).astype(np.int32)


def gaussian_net(rng: np.random.Generator) -> dict[str, Values]:
    layers = {f"conv{i}": rounded(rng.normal(0, 4, (48, 24, 3, 3))) for i in range(4)}
    return layers | {f"bias{i}": rounded(rng.normal(0, 8, (48,))) for i in range(4)}


def laplace_rows(rng: np.random.Generator) -> dict[str, Values]:
    scales = 5 * 2 ** rng.normal(0, 0.8, (64, 1))
    return {f"conv{i}": rounded(rng.laplace(0, 1, (64, 300)) * scales) for i in range(3)}


def laplace_rows_and_columns(rng: np.random.Generator) -> dict[str, Values]:
    scales = 4 * 2 ** (rng.normal(0, 0.6, (64, 1, 1)) + rng.normal(0, 0.6, (1, 32, 1)))
    return {"conv": rounded(rng.laplace(0, 1, (64, 32, 9)) * scales)}


def pruned(rng: np.random.Generator) -> dict[str, Values]:
    kept = rng.random((100, 600)) < 0.05
    return {"conv": rounded(rng.laplace(0, 4, (100, 600)) * kept)}


NETS = [gaussian_net, laplace_rows, laplace_rows_and_columns, pruned]


def order_0_bits(values: Values) -> float:
    counts = np.unique(values, return_counts=True)[1]
    return float((counts * np.log2(values.size / counts)).sum())


def coded(weights: dict[str, Values], reference: dict[str, Values] | None = None) -> bytes:
    specs = [spec_of(values, name) for name, values in weights.items()]
    data = encode_weights(weights, specs, reference)
    back = decode_weights(data, specs, reference)
    for name, values in weights.items():
        np.testing.assert_array_equal(back[name], values, strict=True)
    return data


@pytest.mark.parametrize("net", NETS)
def test_size_is_within_one_percent_of_order_0_entropy(
    net: Callable[[np.random.Generator], dict[str, Values]],
) -> None:
    weights = net(np.random.default_rng(4))
    entropy = sum(order_0_bits(values) for values in weights.values())
    assert len(coded(weights)) * 8 < 1.01 * entropy


@pytest.mark.parametrize(
    ("net", "ratio"), [(laplace_rows, 0.975), (laplace_rows_and_columns, 0.98)]
)
def test_scales_that_differ_are_made_use_of(
    net: Callable[[np.random.Generator], dict[str, Values]], ratio: float
) -> None:
    weights = net(np.random.default_rng(5))
    entropy = sum(order_0_bits(values) for values in weights.values())
    assert len(coded(weights)) * 8 < ratio * entropy


@pytest.mark.parametrize("net", NETS)
def test_smaller_than_general_purpose_compressors(
    net: Callable[[np.random.Generator], dict[str, Values]],
) -> None:
    weights = net(np.random.default_rng(6))
    flat = np.concatenate([values.ravel() for values in weights.values()])
    raw = flat.astype(np.int8 if np.abs(flat).max() < 128 else np.int16).tobytes()
    size = len(coded(weights))
    assert size < 0.995 * len(zstandard.ZstdCompressor(level=19).compress(raw))
    assert size < 0.998 * len(brotli.compress(raw, quality=11))


@pytest.mark.parametrize("net", NETS)
def test_estimate_agrees_with_the_payload(
    net: Callable[[np.random.Generator], dict[str, Values]],
) -> None:
    weights = net(np.random.default_rng(7))
    bits = sum(estimate_bits(values, spec_of(values)) for values in weights.values())
    assert len(coded(weights)) == pytest.approx(bits / 8, rel=5e-4, abs=6)


def test_estimate_counts_the_reference_and_outliers() -> None:
    rng = np.random.default_rng(8)
    before = rounded(rng.laplace(0, 20, (30, 200)))
    after = before + rounded(rng.laplace(0, 0.3, (30, 200)))
    after[::7, 3] = 1_000_000
    bits = estimate_bits(after, spec_of(after), before)
    assert len(coded({"w": after}, {"w": before})) == pytest.approx(bits / 8, rel=5e-4, abs=6)
    assert bits < 0.4 * estimate_bits(after, spec_of(after))


def test_a_reference_that_does_not_help_costs_one_bit() -> None:
    rng = np.random.default_rng(9)
    after = rounded(rng.laplace(0, 2, (30, 200)))
    before = rounded(rng.laplace(0, 50, (30, 200)))
    assert estimate_bits(after, spec_of(after), before) == estimate_bits(after, spec_of(after)) + 1


def test_an_unchanged_tensor_takes_next_to_nothing() -> None:
    values = rounded(np.random.default_rng(10).laplace(0, 20, (64, 1000)))
    assert len(coded({"w": values}, {"w": values})) <= 8


def test_a_reference_of_another_shape_is_not_used() -> None:
    rng = np.random.default_rng(11)
    values = rounded(rng.laplace(0, 2, (10, 8)))
    other = rounded(rng.laplace(0, 2, (10, 6)))
    assert coded({"w": values}, {"w": other}) == coded({"w": values})
    assert coded({"w": values}, {"v": values}) == coded({"w": values})


def test_a_difference_too_large_to_code_is_not_used() -> None:
    high = np.full((4, 4), MAX_MAGNITUDE, np.int32)
    assert not plan_tensor(-high, spec_of(high), high).residual
    coded({"w": -high}, {"w": high})


def test_many_short_rows_are_planned_in_bounded_blocks() -> None:
    values = rounded(np.random.default_rng(12).laplace(0, 3, (50_000,)))
    plan = plan_tensor(values, spec_of(values), None)
    assert len(plan.scales.steps) <= 2048
    coded({"w": values})


def test_many_short_columns_get_no_offsets() -> None:
    values = rounded(np.random.default_rng(12).laplace(0, 3, (2, 50_000)))
    assert plan_tensor(values, spec_of(values), None).offsets is None
    coded({"w": values})


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_tensor_comes_back(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    magnitude = data.draw(st.sampled_from([0, 1, 9, 5000, MAX_MAGNITUDE]))
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    values, reference = rng.integers(-magnitude, magnitude + 1, (2, *shape)).astype(np.int32)
    coded({"w": values}, data.draw(st.sampled_from([None, {"w": reference}])))


def test_clips_agree_with_the_reference_decoder() -> None:
    segment = sample_segment(13, clip_frames=(2, 2, 1))
    before: dict[str, Values] | None = None
    for clip in segment.clips:
        specs = sample_specs(clip.num_frames)
        data = encode_weights(clip.symbols, specs, before)
        decoded = ClipDecoder(data, TABLES_PATH).clip(specs, before)
        for name, values in clip.symbols.items():
            np.testing.assert_array_equal(decoded[name], values)
        before = dict(clip.symbols)


@pytest.mark.parametrize("wrong", [np.zeros((3, 2), np.int32), np.zeros((2, 3), np.int64)])
def test_arrays_that_are_not_what_the_spec_says_are_refused(wrong: Values) -> None:
    spec = WeightSpec(name="w", shape=(2, 3), init_std=1.0)
    with pytest.raises(ValueError, match="w: int32"):
        encode_weights({"w": wrong}, [spec])


def test_too_large_a_symbol_is_refused() -> None:
    values = np.array([0, MAX_MAGNITUDE + 1], np.int32)
    with pytest.raises(EncodeFailed, match="larger step"):
        encode_weights({"w": values}, [spec_of(values)])


def side_information(
    *fields: tuple[int, int],
    deltas: tuple[int, ...] = (),
    residual: bool | None = None,
    centre: int = 0,
    skew: int = 0,
) -> bytes:
    """A tensor's first fields, raw integers (value, bits), and values with table 3 * 64 + 40."""
    encoder = SymbolEncoder()
    if residual is not None:
        encoder.encode_bits(int(residual), 1)
    encoder.encode(np.array([centre], np.int32), 3 * 64 + 35)
    encoder.encode(np.array([skew], np.int32), 3 * 64 + 38)
    for value, bits in fields:
        encoder.encode_bits(value, bits)
    encoder.encode(np.array(deltas, np.int32), 3 * 64 + 40)
    return encoder.finish()


def test_blocks_larger_than_the_tensor_are_refused() -> None:
    spec = WeightSpec(name="w", shape=(17,), init_std=1.0)
    with pytest.raises(InvalidStream, match="rows"):
        decode_weights(side_information((7, 3)), [spec])


@pytest.mark.parametrize(("first", "delta"), [(0, -1), (63, 1), (20, 4000)])
def test_scales_out_of_range_are_refused(first: int, delta: int) -> None:
    spec = WeightSpec(name="w", shape=(2,), init_std=1.0)
    data = side_information((0, 1), (3, 4), (first, 6), (40, 6), deltas=(delta,))
    with pytest.raises(InvalidStream, match="scale"):
        decode_weights(data, [spec])


def test_column_offsets_beyond_the_scales_are_clipped() -> None:
    spec = WeightSpec(name="w", shape=(1, 2), init_std=1.0)
    data = side_information((5, 4), (40, 6), (1, 1), (40, 6), deltas=(-5000, 20_000))
    decode_weights(data, [spec])


def test_sums_out_of_range_are_refused() -> None:
    reference = {"w": np.full((1,), MAX_MAGNITUDE, np.int32)}
    spec = WeightSpec(name="w", shape=(1,), init_std=1.0)
    data = side_information((3, 4), (40, 6), deltas=(1,), residual=True)
    with pytest.raises(InvalidStream, match="w: a symbol"):
        decode_weights(data, [spec], reference)
    data = side_information((3, 4), (40, 6), deltas=(1,), centre=MAX_MAGNITUDE)
    with pytest.raises(InvalidStream, match="w: a symbol"):
        decode_weights(data, [spec])


@pytest.mark.parametrize("skew", [-8, 8, 5000])
def test_skews_out_of_range_are_refused(skew: int) -> None:
    with pytest.raises(InvalidStream, match="skew"):
        decode_weights(side_information(skew=skew), [spec_of(np.zeros(3, np.int32))])


def test_values_around_a_distant_centre_cost_no_more_than_around_zero() -> None:
    values = rounded(np.random.default_rng(14).laplace(0, 2, (20, 30)))
    spec = spec_of(values)
    assert estimate_bits(values + np.int32(5000), spec) < estimate_bits(values, spec) + 32
    assert plan_tensor(values + np.int32(5000), spec, None).centre == pytest.approx(5000, abs=1)
    coded({"w": values + np.int32(5000)})


def test_a_centre_that_would_leave_the_range_is_not_used() -> None:
    values = np.array([MAX_MAGNITUDE, MAX_MAGNITUDE, -MAX_MAGNITUDE], np.int32)
    assert plan_tensor(values, spec_of(values), None).centre == 0
    coded({"w": values})


@pytest.mark.parametrize("sign", [-1, 1])
def test_values_of_mostly_one_sign_cost_less(sign: int) -> None:
    rng = np.random.default_rng(15)
    values = rounded(rng.laplace(0, 0.7, (50, 100)))
    skewed = np.where(rng.random(values.shape) < 0.9, sign * np.abs(values), values)
    skewed = skewed.astype(np.int32)
    saved = estimate_bits(values, spec_of(values)) - estimate_bits(skewed, spec_of(skewed))
    assert saved > 0.6 * np.count_nonzero(values)
    assert plan_tensor(skewed, spec_of(skewed), None).skew * sign > 0
    assert len(coded({"w": skewed})) == pytest.approx(
        estimate_bits(skewed, spec_of(skewed)) / 8, rel=1e-3, abs=6
    )
