from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hypernet.decoders.integer_prior import IntegerConvolution, IntegerPrior, PriorConfig
from hypernet.decoders.learned_coding import decode_clip, encode_clip
from hypernet.errors import InvalidStream
from tests.unit.hypernet.predictor.samples import SMALL, random_symbols

SHAPES = {"tiles": (8, 2, 3), "grid": (24, 7, 9)}
STEP_INDEX = 147


def _prior(seed: int = 0) -> IntegerPrior:
    torch.manual_seed(seed)
    return IntegerPrior(SMALL.prior).requires_grad_(requires_grad=False)


def _symbols(seed: int, spread: float = 3.0) -> dict[str, NDArray[np.int32]]:
    return {
        name: random_symbols(shape, seed + place, spread).numpy().astype(np.int32)
        for place, (name, shape) in enumerate(SHAPES.items())
    }


@pytest.mark.parametrize("reference", [None, _symbols(50)])
@pytest.mark.parametrize("spread", [0.0, 0.3, 3.0, 300.0])
def test_symbols_survive(reference: dict[str, NDArray[np.int32]] | None, spread: float) -> None:
    prior, symbols = _prior(), _symbols(1, spread)
    coded = encode_clip(prior, STEP_INDEX, symbols, reference)
    decoded = decode_clip(prior, STEP_INDEX, coded, SHAPES, reference)
    for name, values in symbols.items():
        np.testing.assert_array_equal(decoded[name], values)
        assert decoded[name].dtype == np.int32


def _indifferent_prior() -> IntegerPrior:
    """Expects every symbol at zero, with one and the same spread."""
    prior = _prior()
    with torch.no_grad():
        for layer in prior.modules():
            if isinstance(layer, IntegerConvolution):
                layer.weight.zero_()
                layer.bias.zero_()
        for stage in [prior.tile_stage, *prior.stages]:
            outputs = len(stage.output.bias) // 3
            stage.output.bias[2 * outputs :] = 5.0
    return prior


def test_a_clip_that_is_what_the_prior_expects_costs_next_to_nothing() -> None:
    zeros = {name: np.zeros(shape, np.int32) for name, shape in SHAPES.items()}
    assert len(encode_clip(_indifferent_prior(), STEP_INDEX, zeros, None)) <= 12


def test_tables_adapt_to_a_clip_that_the_prior_misjudges() -> None:
    symbols = _symbols(1, 0.5)
    written = 8 * len(encode_clip(_indifferent_prior(), STEP_INDEX, symbols, None))
    values = np.concatenate([v.ravel() for v in symbols.values()])
    shares = np.unique(values, return_counts=True)[1] / values.size
    entropy = -float((shares * np.log2(shares)).sum()) * values.size
    assert written < 1.05 * entropy + 64


def test_symbols_that_no_float_holds_exactly_are_refused() -> None:
    symbols = _symbols(1)
    symbols["grid"][0, 0, 0] = 1 << 21
    with pytest.raises(InvalidStream, match="larger step"):
        encode_clip(_prior(), STEP_INDEX, symbols, None)


def test_bytes_do_not_exceed_what_training_estimates() -> None:
    from hypernet.training.losses import symbol_bits

    prior = _prior()
    symbols = _symbols(2, 1.5)
    tiles, grid = (torch.from_numpy(symbols[name]).float()[None] for name in ("tiles", "grid"))
    step, key = prior.config.step_weights(torch.tensor([STEP_INDEX])), torch.zeros(1)
    with torch.no_grad():
        bits = symbol_bits(tiles, prior.tiles(step, tiles * 0, key)).sum()
        bits += symbol_bits(grid, prior.grid(step, tiles, grid, grid * 0, key)).sum()
    written = 8 * len(encode_clip(prior, STEP_INDEX, symbols, None))
    tables = 64 * 10 + 12 + 32  # the choice of tables, and whole words
    assert 0.6 * float(bits) < written < float(bits) + tables


def test_damaged_data_is_an_invalid_stream() -> None:
    prior = _prior()
    data = encode_clip(prior, STEP_INDEX, _symbols(3), None)
    failures = 0
    for damaged in (data + b"\0\0\0\0" * 4, data[:-2], bytes(len(data)), b"\xff" * len(data)):
        try:
            decode_clip(prior, STEP_INDEX, damaged, SHAPES, None)
        except InvalidStream:
            failures += 1
    assert failures >= 2


def test_the_default_prior_codes_a_frame_size_that_no_tile_divides() -> None:
    torch.manual_seed(0)
    prior = IntegerPrior(PriorConfig()).requires_grad_(requires_grad=False)
    shapes = {"tiles": (48, 1, 2), "grid": (128, 3, 5)}
    symbols = {n: random_symbols(s, 9).numpy().astype(np.int32) for n, s in shapes.items()}
    coded = encode_clip(prior, 140, symbols, None)
    decoded = decode_clip(prior, 140, coded, shapes, None)
    np.testing.assert_array_equal(decoded["grid"], symbols["grid"])
