from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hypernet.decoders.integer_prior import IntegerPrior, PriorConfig
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
    decoded = decode_clip(prior, STEP_INDEX, coded.data, SHAPES, reference)
    for name, values in symbols.items():
        np.testing.assert_array_equal(coded.symbols[name], values)
        np.testing.assert_array_equal(decoded[name], values)
        assert decoded[name].dtype == np.int32


def test_symbols_that_cannot_differ_cost_nothing_and_become_their_mean() -> None:
    prior = _prior()
    with torch.no_grad():
        for stage in [prior.tile_stage, *prior.stages]:
            stage.output.weight.zero_()
            stage.output.bias.zero_()
    coded = encode_clip(prior, STEP_INDEX, _symbols(1, 0.3), None)
    assert len(coded.data) <= 4
    assert not any(values.any() for values in coded.symbols.values())
    assert not any(
        values.any() for values in decode_clip(prior, STEP_INDEX, coded.data, SHAPES, None).values()
    )


def test_bytes_are_close_to_what_training_estimates() -> None:
    from hypernet.training.losses import symbol_bits

    prior = _prior()
    symbols = _symbols(2, 1.5)
    tiles, grid = (torch.from_numpy(symbols[name]).float()[None] for name in ("tiles", "grid"))
    step, key = prior.config.step_weights(torch.tensor([STEP_INDEX])), torch.zeros(1)
    with torch.no_grad():
        bits = symbol_bits(tiles, prior.tiles(step, tiles * 0, key)).sum()
        bits += symbol_bits(grid, prior.grid(step, tiles, grid, grid * 0, key)).sum()
    written = 8 * len(encode_clip(prior, STEP_INDEX, symbols, None).data)
    assert written == pytest.approx(float(bits), rel=0.03)


def test_damaged_data_is_an_invalid_stream() -> None:
    prior = _prior()
    data = encode_clip(prior, STEP_INDEX, _symbols(3), None).data
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
    decoded = decode_clip(prior, 140, coded.data, shapes, None)
    np.testing.assert_array_equal(decoded["grid"], coded.symbols["grid"])
