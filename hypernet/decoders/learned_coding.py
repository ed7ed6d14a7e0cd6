"""Tubelet symbols of one clip <-> range coder bytes, with the learned prior.

Encoder and decoder walk the same stages; each stage's means and scales depend only on integers that
the decoder has by then. What a clip's scales are worth is its own affair: the clip starts with the
table that codes best what the prior expects at each scale, which corrects a prior that is too sure
or not sure enough of this clip for a few bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypernet.bitstream.entropy import SymbolDecoder, SymbolEncoder
from hypernet.bitstream.tables import LAPLACE_SHAPE, NUM_SCALES, cost_table
from hypernet.decoders.integer_prior import IntegerPrior, Prediction, even_cells
from hypernet.errors import InvalidStream

SCALE_BITS = 6
TABLE_BITS = 10
FIRST_TABLE = LAPLACE_SHAPE * NUM_SCALES
MAX_SYMBOL = 1 << 20
"""Beyond this float32 convolutions of symbols and means would no longer be exact integers."""

Symbols = Mapping[str, NDArray[np.int32]]
_Exchange = Callable[["_Place", Prediction], NDArray[np.int32]]


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
) -> bytes:
    """Code the ``tiles`` and the ``grid`` of a clip.

    Args:
        prior: of the decode file.
        step_index: quantisation step of the segment, on the stream's grid.
        symbols: int32 ``(C, h, w)`` by name.
        reference: symbols of an earlier clip of the same size, None for a key clip.

    Raises:
        InvalidStream: a symbol is too large to be coded.
    """
    if max(int(np.abs(values).max(initial=0)) for values in symbols.values()) > MAX_SYMBOL:
        raise InvalidStream(f"a symbol exceeds {MAX_SYMBOL}: use a larger step")
    stages: list[tuple[NDArray[np.int32], NDArray[np.uint16]]] = []

    def exchange(place: _Place, prediction: Prediction) -> NDArray[np.int32]:
        mean, scale = _split(prediction, place)
        values = place.of(symbols[place.name])
        stages.append((values - mean, scale))
        return values

    shapes = {name: values.shape for name, values in symbols.items()}
    _walk(prior, step_index, shapes, reference, exchange)
    encoder = SymbolEncoder()
    tables = _best_tables(stages)
    _encode_tables(encoder, tables, np.concatenate([scale for _, scale in stages]))
    for residual, scale in stages:
        encoder.encode(residual, tables[scale])
    return encoder.finish()


def decode_clip(
    prior: IntegerPrior,
    step_index: int,
    data: bytes,
    shapes: Mapping[str, tuple[int, ...]],
    reference: Symbols | None,
) -> dict[str, NDArray[np.int32]]:
    """The symbols that ``encode_clip`` was given with the same arguments.

    Raises:
        InvalidStream: the data cannot come from an encoder.
    """
    decoder = SymbolDecoder(data)
    tables = _decode_tables(decoder)

    def exchange(place: _Place, prediction: Prediction) -> NDArray[np.int32]:
        mean, scale = _split(prediction, place)
        values = mean + decoder.decode(tables[scale], scale.size).astype(np.int64)
        if values.size and int(np.abs(values).max()) > MAX_SYMBOL:
            raise InvalidStream(f"{place.name}: a symbol exceeds {MAX_SYMBOL}")
        return values.astype(np.int32)

    symbols = _walk(prior, step_index, shapes, reference, exchange)
    decoder.finish()
    return symbols


def _best_tables(
    stages: Sequence[tuple[NDArray[np.int32], NDArray[np.uint16]]],
) -> NDArray[np.uint16]:
    """The table that codes a clip's residuals in fewest bits, for each scale of the prior."""
    costs = cost_table()
    tables = np.arange(NUM_SCALES, dtype=np.uint16) + np.uint16(FIRST_TABLE)
    sizes = np.concatenate([np.abs(residual) for residual, _ in stages]).clip(max=len(costs) - 1)
    scales = np.concatenate([scale for _, scale in stages])
    for scale in np.unique(scales):
        counts = np.bincount(sizes[scales == scale])
        tables[scale] = np.argmin(counts @ costs[: len(counts)])
    return tables


def _encode_tables(
    encoder: SymbolEncoder, tables: NDArray[np.uint16], scales: NDArray[np.uint16]
) -> None:
    """Tables of the scales that occur, as one range."""
    first, last = int(scales.min()), int(scales.max())
    encoder.encode_bits(first, SCALE_BITS)
    encoder.encode_bits(last, SCALE_BITS)
    for table in tables[first : last + 1]:
        encoder.encode_bits(int(table), TABLE_BITS)


def _decode_tables(decoder: SymbolDecoder) -> NDArray[np.uint16]:
    tables = np.full(NUM_SCALES, FIRST_TABLE, dtype=np.uint16)
    first, last = decoder.decode_bits(SCALE_BITS), decoder.decode_bits(SCALE_BITS)
    for scale in range(first, last + 1):
        tables[scale] = decoder.decode_bits(TABLE_BITS)
    return tables


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
