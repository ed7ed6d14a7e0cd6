"""Tubelet symbols of one clip <-> range coder bytes, with the learned prior.

Encoder and decoder walk the same stages; each stage's tables and means depend only on integers
that the decoder has by then. A symbol whose table says that it can hardly differ from its mean is
not coded at all: it *is* its mean, which is what keeps entropy decoding fast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypernet.bitstream.entropy import SymbolDecoder, SymbolEncoder
from hypernet.bitstream.tables import LAPLACE_SHAPE, NUM_SCALES
from hypernet.decoders.integer_prior import IntegerPrior, Prediction, even_cells
from hypernet.errors import InvalidStream

UNCODED_TABLES = 12
"""Tables below this promise less than one departure in 400 symbols. Their symbols are not coded,
unless one departs by more than one: then the clip starts with a lower bound for all of it."""
BOUND_BITS = 6
FIRST_TABLE = np.uint16(LAPLACE_SHAPE * NUM_SCALES)
MAX_SYMBOL = 1 << 20
"""Beyond this float32 convolutions of symbols and means would no longer be exact integers."""

Symbols = Mapping[str, NDArray[np.int32]]
_Exchange = Callable[["_Place", Prediction], NDArray[np.int32]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CodedClip:
    """Bytes of a clip, and the symbols that they decode to (uncoded ones set to their means)."""

    data: bytes
    symbols: dict[str, NDArray[np.int32]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Place:
    """Which symbols of a tensor one stage covers."""

    name: str
    channels: slice
    where: NDArray[np.bool_]

    def of(self, symbols: NDArray[np.int32]) -> NDArray[np.int32]:
        """The covered symbols, flat."""
        covered: NDArray[np.int32] = symbols[self.channels][self.where]
        return covered


def encode_clip(
    prior: IntegerPrior, step_index: int, symbols: Symbols, reference: Symbols | None
) -> CodedClip:
    """Code the ``tiles`` and the ``grid`` of a clip.

    Args:
        prior: of the decode file.
        step_index: quantisation step of the segment, on the stream's grid.
        symbols: int32 ``(C, h, w)`` by name.
        reference: final symbols of an earlier clip of the same size, None for a key clip.
    """
    bound = UNCODED_TABLES
    while True:
        try:
            return _encode(prior, step_index, symbols, reference, bound)
        except _Lost as lost:
            bound = lost.scale


class _Lost(Exception):
    """A symbol that would not be coded is far from its mean; its scale index must be coded."""

    def __init__(self, scale: int) -> None:
        super().__init__(scale)
        self.scale = scale


def _encode(
    prior: IntegerPrior,
    step_index: int,
    symbols: Symbols,
    reference: Symbols | None,
    bound: int,
) -> CodedClip:
    encoder = SymbolEncoder()
    encoder.encode_bits(bound, BOUND_BITS)

    def exchange(place: _Place, prediction: Prediction) -> NDArray[np.int32]:
        mean, scale = _split(prediction, place)
        coded = scale >= bound
        wanted = place.of(symbols[place.name]).clip(-MAX_SYMBOL, MAX_SYMBOL)
        lost = ~coded & (np.abs(wanted - mean) > 1)
        if lost.any():
            raise _Lost(int(scale[lost].min()))
        final = np.where(coded, wanted, mean)
        encoder.encode((final - mean)[coded], scale[coded] + FIRST_TABLE)
        return final

    shapes = {name: values.shape for name, values in symbols.items()}
    final = _walk(prior, step_index, shapes, reference, exchange)
    return CodedClip(data=encoder.finish(), symbols=final)


def decode_clip(
    prior: IntegerPrior,
    step_index: int,
    data: bytes,
    shapes: Mapping[str, tuple[int, ...]],
    reference: Symbols | None,
) -> dict[str, NDArray[np.int32]]:
    """The symbols that ``encode_clip`` returned for the same arguments.

    Raises:
        InvalidStream: the data cannot come from an encoder.
    """
    decoder = SymbolDecoder(data)
    bound = decoder.decode_bits(BOUND_BITS)

    def exchange(place: _Place, prediction: Prediction) -> NDArray[np.int32]:
        mean, scale = _split(prediction, place)
        coded = scale >= bound
        values = mean.astype(np.int64)
        values[coded] += decoder.decode(scale[coded] + FIRST_TABLE, int(coded.sum()))
        if values.size and int(np.abs(values).max()) > MAX_SYMBOL:
            raise InvalidStream(f"{place.name}: a symbol exceeds {MAX_SYMBOL}")
        return values.astype(np.int32)

    symbols = _walk(prior, step_index, shapes, reference, exchange)
    decoder.finish()
    return symbols


def _split(prediction: Prediction, place: _Place) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
    """Means and scale indices of the covered symbols, flat."""
    mean = prediction.mean[0].cpu().numpy()[place.where].astype(np.int32)
    return mean, prediction.table[0].cpu().numpy()[place.where].astype(np.uint16)


def _walk(
    prior: IntegerPrior,
    step_index: int,
    shapes: Mapping[str, tuple[int, ...]],
    reference: Symbols | None,
    exchange: _Exchange,
) -> dict[str, NDArray[np.int32]]:
    """Visit every symbol once, in wire order."""
    device = prior.grid_context.weight.device
    step = prior.config.step_weights(torch.tensor([step_index], device=device))
    is_inter = torch.tensor([0.0 if reference is None else 1.0], device=device)
    tiles_before, grid_before = (
        _plane(np.zeros(shapes[name], np.int32) if reference is None else reference[name], device)
        for name in ("tiles", "grid")
    )
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        at_tiles = prior.tiles(step, tiles_before, is_inter)
        place = _Place(
            name="tiles", channels=slice(None), where=np.ones(shapes["tiles"], dtype=bool)
        )
        tiles = exchange(place, at_tiles).reshape(shapes["tiles"])
        grid = np.zeros(shapes["grid"], np.int32)
        context = prior.context(step, _plane(tiles, device), grid_before, is_inter)
        even = even_cells(grid_before)[0].cpu().numpy()
        for index in range(len(prior.stages)):
            prediction = prior.stage(index, context, _plane(grid, device), grid_before)
            half = {0: even, 1: ~even}.get(index, np.ones_like(even))
            channels = prior.channels(index)
            where = np.broadcast_to(half, grid[channels].shape)
            place = _Place(name="grid", channels=channels, where=where)
            grid[channels][where] = exchange(place, prediction)
    return {"tiles": tiles, "grid": grid}


def _plane(symbols: NDArray[np.int32], device: torch.device) -> Tensor:
    return torch.from_numpy(symbols).to(device, torch.float32)[None]
