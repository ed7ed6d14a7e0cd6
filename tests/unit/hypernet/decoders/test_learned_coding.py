from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hypernet.decoders.integer_prior import IntegerPrior, PriorConfig
from hypernet.decoders.learned_coding import decode_clip, encode_clip
from hypernet.errors import EncodeFailed, InvalidStream
from tests.unit.hypernet.predictor.samples import SMALL, random_symbols

SHAPES: dict[str, tuple[int, ...]] = {
    "motion": (4, 4, 5),
    "sway": (10, 2, 3),
    "gate": (1, 7, 9),
    "grid": (64, 7, 9),
}
STEP_INDEX = 170


def _prior(config: PriorConfig = SMALL.prior) -> IntegerPrior:
    torch.manual_seed(0)
    return IntegerPrior(config).requires_grad_(requires_grad=False)


def _symbols(
    seed: int, spread: float = 3.0, shapes: dict[str, tuple[int, ...]] = SHAPES
) -> dict[str, NDArray[np.int32]]:
    """Symbols of a clip with a reference."""
    symbols = {
        name: random_symbols(shape, seed + place, spread).numpy().astype(np.int32)
        for place, (name, shape) in enumerate(shapes.items())
    }
    symbols["gate"] = np.clip(symbols["gate"], 0, 1)
    return symbols


def _key(symbols: dict[str, NDArray[np.int32]]) -> dict[str, NDArray[np.int32]]:
    """The same without what only a reference needs."""
    motion = symbols["motion"].copy()
    motion[2:] = 0
    return {**symbols, "motion": motion, "gate": np.zeros_like(symbols["gate"])}


@pytest.mark.parametrize("reference", [None, _symbols(50)])
@pytest.mark.parametrize("spread", [0.0, 0.3, 3.0, 300.0])
def test_symbols_survive(reference: dict[str, NDArray[np.int32]] | None, spread: float) -> None:
    prior, symbols = _prior(), _symbols(1, spread)
    if reference is None:
        symbols = _key(symbols)
    coded = encode_clip(prior, STEP_INDEX, symbols, reference)
    decoded = decode_clip(prior, STEP_INDEX, coded, SHAPES, reference)
    for name, values in symbols.items():
        np.testing.assert_array_equal(decoded[name], values)
        assert decoded[name].dtype == np.int32


def test_what_is_zero_costs_little() -> None:
    zeros = {name: np.zeros(shape, np.int32) for name, shape in SHAPES.items()}
    busy = len(encode_clip(_prior(), STEP_INDEX, _key(_symbols(1)), None))
    assert len(encode_clip(_prior(), STEP_INDEX, zeros, None)) < busy / 10


def test_motion_that_all_squares_share_costs_little() -> None:
    prior = _prior()
    zeros = {name: np.zeros(shape, np.int32) for name, shape in SHAPES.items()}
    zeros["motion"][:2] = 37
    alone = len(encode_clip(prior, STEP_INDEX, zeros, None))
    zeros["motion"][:2] = random_symbols((2, 4, 5), 3, 37).numpy()
    assert alone < len(encode_clip(prior, STEP_INDEX, zeros, None))


def test_a_clip_that_does_not_sway_says_so_once() -> None:
    prior, symbols = _prior(), _key(_symbols(1))
    sizes = []
    for shape in ((10, 1, 1), (10, 40, 50)):
        symbols["sway"] = np.zeros(shape, np.int32)
        sizes.append(len(encode_clip(prior, STEP_INDEX, symbols, None)))
    assert sizes[0] == sizes[1]


def test_a_sway_that_all_squares_share_costs_little() -> None:
    prior, symbols = _prior(), _key(_symbols(1))
    symbols["sway"] = np.zeros((10, 6, 8), np.int32)
    still = len(encode_clip(prior, STEP_INDEX, symbols, None))
    symbols["sway"] += np.arange(-5, 5, dtype=np.int32)[:, None, None]
    shared = len(encode_clip(prior, STEP_INDEX, symbols, None))
    symbols["sway"] = random_symbols((10, 6, 8), 3, 3.0).numpy().astype(np.int32)
    assert still < shared < still + 100
    assert shared < len(encode_clip(prior, STEP_INDEX, symbols, None)) - 60


def test_symbols_that_no_float_holds_exactly_are_refused() -> None:
    symbols = _key(_symbols(1))
    symbols["grid"][0, 0, 0] = 1 << 21
    with pytest.raises(EncodeFailed, match="lower quality"):
        encode_clip(_prior(), STEP_INDEX, symbols, None)


@pytest.mark.parametrize("is_inter", [False, True])
def test_bytes_are_about_what_training_estimates(is_inter: bool) -> None:
    from hypernet.predictor.weight_predictor import PredictedWeights
    from hypernet.training.losses import grid_bits

    prior = _prior()
    symbols = _key(_symbols(2, 1.0))
    symbols["motion"][:], symbols["sway"][:] = 0, 0
    before = _symbols(9, 0.6) if is_inter else None
    tensors = {n: torch.from_numpy(v)[None].float() for n, v in symbols.items()}
    sent = PredictedWeights(**tensors)
    reference = None if before is None else torch.from_numpy(before["grid"])[None].float()
    step = prior.config.step_weights(torch.tensor([STEP_INDEX]))
    bits = float(grid_bits(prior, step, sent, reference))
    written = 8 * len(encode_clip(prior, STEP_INDEX, symbols, before))
    tables = 64 * 10 + 12 + 32 + 10 * 8  # the choice of tables, and whole words
    assert 0.6 * bits < written < bits + tables


def test_damaged_data_is_an_invalid_stream() -> None:
    prior = _prior()
    data = encode_clip(prior, STEP_INDEX, _key(_symbols(3)), None)
    failures = 0
    for damaged in (data + b"\0\0\0\0" * 4, data[:-2], bytes(len(data)), b"\xff" * len(data)):
        try:
            decode_clip(prior, STEP_INDEX, damaged, SHAPES, None)
        except InvalidStream:
            failures += 1
    assert failures >= 2


def test_the_default_prior_codes_a_frame_size_that_no_tile_divides() -> None:
    prior = _prior(PriorConfig())
    shapes: dict[str, tuple[int, ...]] = {
        "motion": (4, 2, 3),
        "sway": (10, 1, 2),
        "gate": (1, 3, 5),
        "grid": (PriorConfig().grid_channels, 3, 5),
    }
    symbols = _symbols(9, 1.0, shapes)
    reference = _symbols(19, 1.0, shapes)
    coded = encode_clip(prior, 160, symbols, reference)
    decoded = decode_clip(prior, 160, coded, shapes, reference)
    np.testing.assert_array_equal(decoded["grid"], symbols["grid"])
