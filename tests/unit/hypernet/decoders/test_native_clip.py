"""The C kernels read and list tubelet clips as the walk with torch and constriction does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hypernet.bitstream.reader import StreamReader
from hypernet.bitstream.segment import decode_segment
from hypernet.bitstream.sources import BytesSource
from hypernet.decoders import learned_coding
from hypernet.decoders.integer_prior import IntegerPrior, PriorConfig
from hypernet.decoders.learned_coding import LearnedCoding, decode_clip, encode_clip
from hypernet.decoders.native_clip import NativeClips
from hypernet.decoders.native_prior import packed_prior
from hypernet.decoding import open_stream
from hypernet.errors import EncodeFailed, InvalidStream
from hypernet.native import library
from hypernet.segment_decoder import SegmentDecoder
from hypernet.weights import WeightSpec
from tests.unit.hypernet.bitstream.mutations import mutants
from tests.unit.hypernet.predictor.samples import SMALL, random_symbols

pytestmark = pytest.mark.skipif(library.kernels() is None, reason="the C kernels were not built")

Symbols = dict[str, NDArray[np.int32]]
Shapes = dict[str, tuple[int, ...]]

GOLDEN = Path(__file__).parents[3] / "golden" / "codec-fast.nrv"
STEP_INDEX = 170
ODD = PriorConfig(first=19, middle=(5, 40), last=(70, 3, 33), context_width=20, hidden_width=70)
ALONE = PriorConfig(first=3, middle=(1,), last=(1,), context_width=1, hidden_width=1)


def _prior(config: PriorConfig, seed: int = 0) -> IntegerPrior:
    torch.manual_seed(seed)
    prior = IntegerPrior(config).requires_grad_(requires_grad=False)
    prior.freeze()
    return prior


def _shapes(config: PriorConfig, rows: int = 7, columns: int = 9) -> Shapes:
    return {
        "motion": (4, (rows + 1) // 2, (columns + 1) // 2),
        "sway": (10, (rows + 3) // 4, (columns + 3) // 4),
        "gate": (1, rows, columns),
        "grid": (config.grid_channels, rows, columns),
    }


def _symbols(shapes: Shapes, seed: int, spread: float, *, is_inter: bool = True) -> Symbols:
    symbols = {
        name: random_symbols(shape, seed + place, spread).numpy().astype(np.int32)
        for place, (name, shape) in enumerate(shapes.items())
    }
    # Some groups are empty, some cells too.
    symbols["grid"][:, ::3] = 0
    symbols["grid"][shapes["grid"][0] // 2 :, :, ::2] = 0
    symbols["gate"] = np.clip(symbols["gate"], 0, int(is_inter))
    if not is_inter:
        symbols["motion"][2:] = 0
    return symbols


def _specs(shapes: Shapes) -> list[WeightSpec]:
    return [WeightSpec(name=name, shape=shape, init_std=0.0) for name, shape in shapes.items()]


def _assert_same(prior: IntegerPrior, symbols: Symbols, reference: Symbols | None) -> None:
    """Bytes and symbols of both ways."""
    shapes: Shapes = {name: values.shape for name, values in symbols.items()}
    coded = encode_clip(prior, STEP_INDEX, symbols, reference)
    coding = LearnedCoding(prior)
    assert NativeClips.of(prior) is not None
    assert coding.encode(symbols, _specs(shapes), [0, STEP_INDEX], reference) == coded
    decoded = coding.decode(coded, _specs(shapes), [0, STEP_INDEX], reference)
    assert list(decoded) == list(shapes)
    for name, values in symbols.items():
        np.testing.assert_array_equal(decoded[name], values)
        assert decoded[name].dtype == np.int32


@pytest.mark.parametrize("is_inter", [False, True])
@pytest.mark.parametrize("spread", [0.0, 0.3, 3.0, 300.0, 200_000.0])
@pytest.mark.parametrize("config", [SMALL.prior, PriorConfig(), ODD, ALONE])
def test_symbols_and_bytes_are_the_same(config: PriorConfig, spread: float, is_inter: bool) -> None:
    shapes = _shapes(config)
    reference = _symbols(shapes, 50, min(spread, 9.0)) if is_inter else None
    symbols = _symbols(shapes, 1, spread, is_inter=is_inter)
    _assert_same(_prior(config), symbols, reference)


@pytest.mark.parametrize("is_inter", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (1, 7), (5, 1), (2, 2), (3, 4)])
def test_small_frames_are_the_same(size: tuple[int, int], is_inter: bool) -> None:
    shapes = _shapes(SMALL.prior, *size)
    reference = _symbols(shapes, 20, 2.0) if is_inter else None
    _assert_same(_prior(SMALL.prior), _symbols(shapes, 5, 2.0, is_inter=is_inter), reference)


@pytest.mark.parametrize("seed", range(6))
def test_priors_that_tell_all_kinds_of_tables(seed: int) -> None:
    prior = _prior(SMALL.prior, seed)
    for name, layer in prior.named_parameters():
        if name.endswith(("output.weight", "known.weight")):
            layer.mul_(6)
    prior.freeze()
    shapes = _shapes(SMALL.prior, 12, 13)
    _assert_same(prior, _symbols(shapes, seed, 1.5), _symbols(shapes, seed + 9, 1.0))


def test_damaged_clips_mean_the_same() -> None:
    prior, shapes = _prior(SMALL.prior), _shapes(SMALL.prior, 5, 4)
    reference = _symbols(shapes, 50, 1.0)
    rng = np.random.default_rng(1)
    native = NativeClips.of(prior)
    assert native is not None
    seen: Counter[str] = Counter()
    for number in range(150):
        before = reference if number % 2 else None
        spread = float(rng.choice([0.5, 3.0, 200_000.0]))
        symbols = _symbols(shapes, number, spread, is_inter=bool(number % 2))
        data = _damaged(encode_clip(prior, STEP_INDEX, symbols, before), rng)
        one = _outcome(partial(decode_clip, prior, STEP_INDEX, data, shapes, before))
        two = _outcome(partial(native.decode, STEP_INDEX, data, shapes, before))
        _assert_equal(one, two)
        seen[one if isinstance(one, str) else "read"] += 1
    assert len(seen) >= 5, "not every kind of damage was reached"


@pytest.mark.parametrize("is_inter", [False, True])
@pytest.mark.parametrize("name", ["motion", "sway"])
def test_squares_beyond_the_limit_are_refused(
    name: str, is_inter: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    prior, shapes = _prior(SMALL.prior), _shapes(SMALL.prior)
    reference = _symbols(shapes, 50, 1.0) if is_inter else None
    symbols = _symbols(shapes, 1, 1.0, is_inter=is_inter)
    symbols[name][1, 1:, 1:] = 3 << 20
    with monkeypatch.context() as careless:
        careless.setattr(learned_coding, "_refuse_large", lambda _: None)
        careless.setattr(learned_coding, "_checked", lambda values: values.astype(np.int32))
        data = encode_clip(prior, STEP_INDEX, symbols, reference)
    native = NativeClips.of(prior)
    assert native is not None
    one = _outcome(partial(decode_clip, prior, STEP_INDEX, data, shapes, reference))
    two = _outcome(partial(native.decode, STEP_INDEX, data, shapes, reference))
    assert isinstance(one, str)
    assert one == two


@pytest.mark.parametrize("is_inter", [False, True])
@pytest.mark.parametrize("spread", [3.0, 200_000.0])
def test_only_some_clips_sway(spread: float, is_inter: bool) -> None:
    shapes = _shapes(SMALL.prior)
    reference = _symbols(shapes, 50, 1.0) if is_inter else None
    symbols = _symbols(shapes, 1, 1.0, is_inter=is_inter)
    symbols["sway"][:] = 0
    _assert_same(_prior(SMALL.prior), symbols, reference)
    symbols["sway"] = random_symbols(shapes["sway"], 7, spread).numpy().astype(np.int32)
    _assert_same(_prior(SMALL.prior), symbols, reference)
    symbols["motion"][:] = 0
    _assert_same(_prior(SMALL.prior), symbols, reference)


def test_damaged_streams_of_the_shipped_prior_mean_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = GOLDEN.read_bytes()
    with open_stream(GOLDEN) as opened:
        segments = opened.segments
    seen: Counter[bool] = Counter()
    for damaged in mutants(stream, 160, seed=1):
        try:
            payload = StreamReader(BytesSource(damaged)).segment(0)
        except InvalidStream:
            continue
        decode = partial(_all_symbols, payload, segments)
        two = _outcome(decode)
        with monkeypatch.context() as without:
            without.setattr(library, "kernels", lambda: None)
            one = _outcome(decode)
        _assert_equal(one, two)
        seen[isinstance(one, str)] += 1
    assert min(seen[False], seen[True]) >= 5, seen


def _all_symbols(payload: bytes, segments: SegmentDecoder) -> Symbols:
    segment = decode_segment(payload, segments.specs_of, coding=segments.coding)
    return {
        f"{number}.{name}": np.asarray(values)
        for number, clip in enumerate(segment.clips)
        for name, values in clip.symbols.items()
    }


def _outcome(decode: Callable[[], Symbols]) -> Symbols | str:
    """What is decoded, or why not."""
    try:
        return decode()
    except InvalidStream as error:
        return str(error)


def _assert_equal(one: Symbols | str, two: Symbols | str) -> None:
    if isinstance(one, str) or isinstance(two, str):
        assert one == two
        return
    assert list(one) == list(two)
    for name, values in one.items():
        np.testing.assert_array_equal(two[name], values)


def _damaged(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    kind = rng.integers(6)
    if kind == 0:
        return bytes(changed[: rng.integers(len(data))])
    if kind == 1:
        return bytes(changed + rng.bytes(4 * int(rng.integers(1, 3))))
    if kind == 2:
        return rng.bytes(4 * int(rng.integers(0, 60)))
    reach = len(data) if kind < 5 else 40
    for place in rng.integers(0, min(reach, len(data)), 2):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def test_another_step_is_another_clip() -> None:
    prior, shapes = _prior(SMALL.prior), _shapes(SMALL.prior)
    native = NativeClips.of(prior)
    assert native is not None
    symbols = _symbols(shapes, 1, 2.0, is_inter=False)
    for step_index in (0, 158, 255):
        coded = encode_clip(prior, step_index, symbols, None)
        np.testing.assert_array_equal(
            native.decode(step_index, coded, shapes, None)["grid"], symbols["grid"]
        )


@pytest.mark.parametrize("name", ["sway", "grid"])
def test_too_large_symbols_are_refused(name: str) -> None:
    symbols = _symbols(_shapes(SMALL.prior), 1, 1.0, is_inter=False)
    symbols[name][5, 1, 1] = 1 << 21
    with pytest.raises(EncodeFailed, match="lower quality"):
        LearnedCoding(_prior(SMALL.prior)).encode(symbols, [], [STEP_INDEX], None)


@pytest.mark.usefixtures("without_kernels")
def test_without_kernels_torch_does_it() -> None:
    prior, shapes = _prior(SMALL.prior), _shapes(SMALL.prior)
    symbols = _symbols(shapes, 1, 1.0, is_inter=False)
    coding = LearnedCoding(prior)
    assert NativeClips.of(prior) is None
    coded = coding.encode(symbols, _specs(shapes), [STEP_INDEX], None)
    decoded = coding.decode(coded, _specs(shapes), [STEP_INDEX], None)
    np.testing.assert_array_equal(decoded["grid"], symbols["grid"])


def test_only_frozen_exact_priors_are_packed() -> None:
    torch.manual_seed(0)
    prior = IntegerPrior(SMALL.prior).requires_grad_(requires_grad=False)
    assert packed_prior(prior) is None
    prior.freeze()
    first = packed_prior(prior)
    assert first is not None
    assert packed_prior(prior) is first
    prior.middle.hidden.bias.add_(1.0)
    prior.freeze()
    assert packed_prior(prior) is not first
    prior.middle.hidden.bias.add_(2.0**20)
    prior.freeze()
    assert packed_prior(prior) is None
    assert packed_prior(_prior(replace(SMALL.prior, first=2, middle=(14, 8)))) is None


def test_a_reference_of_another_size_is_refused() -> None:
    prior, shapes = _prior(SMALL.prior), _shapes(SMALL.prior)
    native = NativeClips.of(prior)
    assert native is not None
    other = _symbols(_shapes(SMALL.prior, 8, 9), 1, 1.0)
    with pytest.raises(ValueError, match="grid of"):
        native.decode(STEP_INDEX, bytes(40), shapes, other)
    with pytest.raises(ValueError, match="a grid of"):
        native.decode(STEP_INDEX, bytes(40), {**shapes, "gate": (1, 9, 9)}, None)


def test_the_walk_is_not_taken_where_there_are_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    prior, shapes = _prior(SMALL.prior), _shapes(SMALL.prior)
    symbols = _symbols(shapes, 1, 1.0, is_inter=False)
    monkeypatch.delattr(learned_coding, "_walk_grid")
    coding = LearnedCoding(prior)
    coded = coding.encode(symbols, _specs(shapes), [STEP_INDEX], None)
    assert coding.decode(coded, _specs(shapes), [STEP_INDEX], None)["grid"].any()
