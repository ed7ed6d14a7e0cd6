"""Tubelet symbols of one clip <-> range coder bytes, with the learned prior.

Encoder and decoder walk the same stages; each stage's tables depend only on integers that the
decoder has by then. What a clip's tables are worth is its own affair: the clip starts with the
table that codes best what the prior expects at each of them, which corrects a prior that is too
sure or not sure enough of this clip for a few bytes.

The functions here walk with torch and constriction, on any device, and are the reference; where C
kernels were built ``LearnedCoding`` takes them instead, which gives the same bytes and symbols.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypernet.bitstream.entropy import SymbolDecoder
from hypernet.decoders.clip_coders import (
    MAX_SYMBOL,
    Coder,
    IntArray,
    Reader,
    Survey,
    Writer,
    exceeds,
)
from hypernet.decoders.integer_prior import (
    IntegerPrior,
    even_cells,
    flagged_places,
    neighbour_mean,
)
from hypernet.decoders.native_clip import ClipLists, NativeClips
from hypernet.decoders.neighbours import from_neighbours, onto_neighbours
from hypernet.decoders.spectrum import spectrum
from hypernet.errors import EncodeFailed, InvalidStream
from hypernet.weights import WeightSpec

Symbols = Mapping[str, IntArray]


class LearnedCoding:
    """``hypernet.bitstream.segment.WeightCoding`` with the prior of a decode file."""

    def __init__(self, prior: IntegerPrior) -> None:
        self._prior = prior

    def encode(
        self,
        symbols: Symbols,
        specs: Sequence[WeightSpec],  # noqa: ARG002 - the symbols have the shapes
        step_indices: Sequence[int],
        reference: Symbols | None,
    ) -> bytes:
        """See ``encode_clip``."""
        native = NativeClips.of(self._prior)
        if native is None:
            return encode_clip(self._prior, step_indices[-1], symbols, reference)
        _refuse_large(symbols)
        lists = native.lists(step_indices[-1], symbols, reference)
        return _encoded(lambda coder: _give(coder, lists, symbols, reference))

    def decode(
        self,
        data: bytes,
        specs: Sequence[WeightSpec],
        step_indices: Sequence[int],
        reference: Symbols | None,
    ) -> dict[str, IntArray]:
        """See ``decode_clip``."""
        shapes = {spec.name: spec.shape for spec in specs}
        native = NativeClips.of(self._prior)
        if native is None:
            return decode_clip(self._prior, step_indices[-1], data, shapes, reference)
        return native.decode(step_indices[-1], data, shapes, reference)


def encode_clip(
    prior: IntegerPrior, step_index: int, symbols: Symbols, reference: Symbols | None
) -> bytes:
    """Code the ``motion``, ``sway``, ``gate`` and ``grid`` of a clip.

    Args:
        prior: of the decode file.
        step_index: quantisation step of the grid, on the stream's grid.
        symbols: int32 ``(C, h, w)`` by name.
        reference: symbols of another clip of the same size, None for a key clip.

    Raises:
        EncodeFailed: a symbol is too large to be coded.
    """
    _refuse_large(symbols)
    known = _Known(prior=prior, step_index=step_index, reference=reference)
    return _encoded(lambda coder: _walk(known, coder, symbols))


def decode_clip(
    prior: IntegerPrior,
    step_index: int,
    data: bytes,
    shapes: Mapping[str, tuple[int, ...]],
    reference: Symbols | None,
) -> dict[str, IntArray]:
    """The symbols that ``encode_clip`` was given with the same arguments.

    Raises:
        InvalidStream: the data cannot come from an encoder.
    """
    reader = Reader(SymbolDecoder(data))
    absent = {name: np.zeros(shape, np.int32) for name, shape in shapes.items()}
    known = _Known(prior=prior, step_index=step_index, reference=reference)
    symbols = _walk(known, reader, absent)
    reader.decoder.finish()
    return symbols


def _refuse_large(symbols: Symbols) -> None:
    if any(exceeds(values) for values in symbols.values()):
        raise EncodeFailed(f"a symbol exceeds {MAX_SYMBOL}: use a lower quality")


def _encoded(walk: Callable[[Coder], object]) -> bytes:
    """What is walked twice: the clip's own tables must be known before the first symbol."""
    survey = Survey()
    walk(survey)
    writer = Writer(survey.best_tables())
    walk(writer)
    return writer.encoder.finish()


def _give(coder: Coder, lists: ClipLists, symbols: Symbols, reference: Symbols | None) -> None:
    """To an encoder, what ``_walk`` does, with the lists of the grid at hand."""
    coder.rows(_motion_rows(symbols["motion"], is_inter=reference is not None))
    _walk_sway(coder, symbols["sway"])
    if reference is not None:
        coder.flags(symbols["gate"].ravel())
    for values, tables in lists.first:
        coder.symbols(values, tables)
    for values, levels in lists.flags:
        coder.flags(values, levels)
    for values, tables in lists.flagged:
        coder.symbols(values, tables)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Known:
    """What both sides know before the first symbol."""

    prior: IntegerPrior
    step_index: int
    reference: Symbols | None


def _walk(known: _Known, coder: Coder, symbols: Symbols) -> dict[str, IntArray]:
    """Visit every symbol once, in wire order."""
    reference = known.reference
    motion = _walk_motion(coder, symbols["motion"], is_inter=reference is not None)
    sway = _walk_sway(coder, symbols["sway"])
    gate = np.zeros(symbols["gate"].shape, np.int32)
    if reference is not None:
        gate = coder.flags(symbols["gate"].ravel()).reshape(gate.shape)
    with torch.inference_mode():
        grid = _walk_grid(known, coder, gate, symbols["grid"])
    return {"motion": motion, "sway": sway, "gate": gate, "grid": grid}


def _walk_motion(coder: Coder, motion: IntArray, *, is_inter: bool) -> IntArray:
    coded = coder.rows(_motion_rows(motion, is_inter=is_inter))
    found = np.zeros_like(motion)
    found[: len(coded)] = _from_rows(coded, motion.shape)
    return found


def _motion_rows(motion: IntArray, *, is_inter: bool) -> IntArray:
    return _to_rows(motion if is_inter else motion[:-2])


def _walk_sway(coder: Coder, sway: IntArray) -> IntArray:
    """One flag says whether there is any."""
    if not coder.flags(np.array([sway.any()], np.int32))[0]:
        return np.zeros_like(sway)
    return _from_rows(coder.rows(_to_rows(sway)), sway.shape)


def _to_rows(squares: IntArray) -> IntArray:
    """Each value as its difference to what its neighbours let expect."""
    return from_neighbours(squares).reshape(len(squares), -1)


def _from_rows(rows: IntArray, shape: tuple[int, ...]) -> IntArray:
    return _checked(onto_neighbours(rows.reshape(-1, *shape[1:])))


def _checked(values: NDArray[np.int64]) -> IntArray:
    if exceeds(values):
        raise InvalidStream(f"a symbol exceeds {MAX_SYMBOL}")
    return values.astype(np.int32)


def _walk_grid(known: _Known, coder: Coder, gate: IntArray, symbols: IntArray) -> IntArray:
    prior, reference = known.prior, known.reference
    config, device = prior.config, prior.reference.weight.device
    before = np.zeros_like(symbols) if reference is None else reference["grid"]
    context = prior.context(
        config.step_weights(torch.tensor([known.step_index], device=device)),
        _plane(gate, device),
        torch.from_numpy(before).to(device)[None],
        torch.tensor([float(reference is not None)], device=device),
    )
    even = np.broadcast_to(even_cells(context)[0, 0].cpu().numpy(), gate.shape[1:])
    first = _walk_first(known, coder, context, even, symbols[: config.first])
    at_first = _plane(first, device)
    flags = _walk_flags(known, coder, (context, at_first), even, symbols[config.first :])
    at_flags = _plane(flags, device)
    # Unlike `zeros_like`, this takes no memory before it is written to.
    grid = np.zeros(symbols.shape, np.int32)
    grid[: config.first] = first
    split = config.first + sum(config.middle)
    middle = grid[config.first : split]
    _walk_flagged(
        coder,
        symbols[config.first : split],
        middle,
        _places(flags[: len(config.middle)], config.middle),
        _indices(prior.flagged_middle_tables(context, at_first, at_flags)),
    )
    _walk_flagged(
        coder,
        symbols[split:],
        grid[split:],
        _places(flags[len(config.middle) :], config.last),
        _indices(prior.flagged_last_tables(context, at_first, at_flags, _plane(middle, device))),
    )
    return grid


def _walk_first(
    known: _Known, coder: Coder, context: Tensor, even: NDArray[np.bool_], given: IntArray
) -> IntArray:
    """The first group; in key clips averages of odd cells are coded around their neighbours'."""
    found, mean = np.zeros_like(given), np.zeros_like(given)
    for half in (even, ~even):
        if half is even:
            tables = known.prior.first_even_tables(context)
        else:
            tables = known.prior.first_odd_tables(context, _plane(found, context.device))
            if known.reference is None:
                means = list(spectrum(known.prior.config.grid_channels).means)
                mean[means] = _neighbours(found[means])
        coded = coder.symbols((given - mean)[:, half].ravel(), _tables(tables)[:, half].ravel())
        found[:, half] = _checked(coded.reshape(len(given), -1).astype(np.int64) + mean[:, half])
    return found


def _walk_flags(
    known: _Known,
    coder: Coder,
    seen: tuple[Tensor, Tensor],
    even: NDArray[np.bool_],
    symbols: IntArray,
) -> IntArray:
    """Which groups of each cell hold anything, told from the context and the first group."""
    prior, groups = known.prior, known.prior.config.groups
    given = coder.presence(symbols, np.cumsum((0, *groups[:-1])))
    found = np.zeros_like(given)
    for half in (even, ~even):
        if half is even:
            levels = prior.flag_even_levels(*seen)
        else:
            levels = prior.flag_odd_levels(*seen, _plane(found, seen[0].device))
        coded = coder.flags(given[:, half].ravel(), _tables(levels)[:, half].ravel())
        found[:, half] = coded.reshape(len(groups), -1)
    return found


def _walk_flagged(
    coder: Coder,
    given: IntArray,
    found: IntArray,
    where: NDArray[np.int64],
    tables: NDArray[np.uint16],
) -> None:
    """The symbols of flagged groups, for which there are tables; others stay as they are."""
    found.reshape(-1)[where] = coder.symbols(given.reshape(-1)[where], tables)


def _places(flags: IntArray, groups: tuple[int, ...]) -> NDArray[np.int64]:
    places: NDArray[np.int64] = flagged_places(torch.from_numpy(flags), groups).numpy()
    return places


def _neighbours(means: IntArray) -> IntArray:
    around = neighbour_mean(torch.from_numpy(means)[None])[0]
    mean: IntArray = around.numpy().astype(np.int32)
    return mean


def _tables(tables: Tensor) -> NDArray[np.uint16]:
    return _indices(tables[0])


def _indices(tables: Tensor) -> NDArray[np.uint16]:
    return tables.cpu().numpy().astype(np.uint16)


def _plane(symbols: IntArray, device: torch.device) -> Tensor:
    return torch.from_numpy(symbols).to(device, torch.float32)[None]
