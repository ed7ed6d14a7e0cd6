"""Tubelet clips read, and listed for writing, by the C kernels where they were built.

All results are those of ``learned_coding``, which is the reference. The structures are those of
``hypernet/native/range_coder.h`` and ``tubelet_clip.c``.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping
from ctypes import POINTER, byref, c_char_p, c_int, c_int32, c_size_t, c_uint8, c_uint16, c_uint32
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hypernet.bitstream.entropy import WORD_BYTES
from hypernet.bitstream.flags import one_frequencies
from hypernet.bitstream.tables import cumulative_tables
from hypernet.decoders.clip_coders import MAX_SYMBOL, IntArray
from hypernet.decoders.integer_prior import STEP_KNOTS, IntegerPrior, PriorConfig
from hypernet.decoders.native_prior import PackedPrior, packed_prior
from hypernet.errors import InvalidStream
from hypernet.native import library

Symbols = Mapping[str, IntArray]
Shapes = Mapping[str, tuple[int, ...]]
Listed = tuple[IntArray, NDArray[np.uint16]]
"""Values, and for each its table of the prior or its level."""

_LISTS = 6
_NO_MEMORY = -1
_ERRORS = {
    1: "the entropy coded data is damaged",
    2: "an escaped weight symbol has an invalid length",
    3: f"a symbol exceeds {MAX_SYMBOL}",
    4: "entropy coded data goes on after its last symbol",
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClipLists:
    """The grid of a clip as it is sent.

    Attributes:
        first: symbols of the first group, in even cells and in odd ones.
        flags: flags of the other groups, in even cells and in odd ones.
        flagged: symbols of the flagged middle groups and of the last ones.
    """

    first: tuple[Listed, ...]
    flags: tuple[Listed, ...]
    flagged: tuple[Listed, ...]


class NativeClips:
    """Reads and lists the clips of one prior."""

    def __init__(self, kernels: ctypes.CDLL, packed: PackedPrior, config: PriorConfig) -> None:
        self._kernels = kernels
        self._packed = packed
        self._config = config

    @classmethod
    def of(cls, prior: IntegerPrior) -> NativeClips | None:
        """None where there are no kernels, or none for such a prior."""
        kernels = library.kernels()
        packed = None if kernels is None else packed_prior(prior)
        if kernels is None or packed is None:
            return None
        return cls(kernels, packed, prior.config)

    def decode(
        self, step_index: int, data: bytes, shapes: Shapes, reference: Symbols | None
    ) -> dict[str, IntArray]:
        """See ``learned_coding.decode_clip``."""
        if len(data) % WORD_BYTES:
            raise InvalidStream(f"entropy coded data of {len(data)} bytes, not a multiple of 4")
        # Zeros take no memory where nothing is written.
        symbols = {name: np.zeros(shape, np.int32) for name, shape in shapes.items()}
        before = _contiguous(reference, {"grid": shapes["grid"]})
        motion, sway = shapes["motion"], shapes["sway"]
        found = _Found(
            data=data,
            words=len(data) // WORD_BYTES,
            motion_channels=motion[0],
            motion_rows=motion[1],
            motion_columns=motion[2],
            sway_channels=sway[0],
            sway_rows=sway[1],
            sway_columns=sway[2],
            motion=_integers(symbols["motion"]),
            sway=_integers(symbols["sway"]),
            gate=_integers(symbols["gate"]),
            grid=_integers(symbols["grid"]),
        )
        clip = self._clip(step_index, shapes, before)
        prior, (tables, _) = self._packed.layers, _tables()
        _check(self._kernels.nrv_read_clip(byref(prior), byref(tables), byref(clip), byref(found)))
        return symbols

    def lists(self, step_index: int, symbols: Symbols, reference: Symbols | None) -> ClipLists:
        """What ``learned_coding.encode_clip`` codes of a clip's grid.

        Args:
            step_index: quantisation step of the grid.
            symbols: ``gate`` and ``grid`` of the clip, magnitudes at most ``MAX_SYMBOL``.
            reference: symbols of another clip of the same size, None for a key clip.
        """
        shapes = {name: symbols[name].shape for name in ("gate", "grid")}
        given, before = (
            _contiguous(symbols, shapes),
            _contiguous(reference, {"grid": shapes["grid"]}),
        )
        room = (self._config.grid_channels + len(self._config.groups)) * symbols["gate"].size
        keys, values = np.empty(room, np.uint8), np.empty(room, np.int32)
        sent = _Sent(
            gate=_integers(given["gate"]),
            grid=_integers(given["grid"]),
            room=room,
            keys=keys.ctypes.data_as(POINTER(c_uint8)),
            values=_integers(values),
        )
        clip, prior = self._clip(step_index, shapes, before), self._packed.layers
        _check(self._kernels.nrv_list_clip(byref(prior), byref(clip), byref(sent)))
        ends = np.cumsum(sent.counts)
        parts = [
            (values[start:end], keys[start:end].astype(np.uint16))
            for start, end in zip((0, *ends[:-1]), ends, strict=True)
        ]
        return ClipLists(first=tuple(parts[:2]), flags=tuple(parts[2:4]), flagged=tuple(parts[4:]))

    def _clip(self, step_index: int, shapes: Shapes, before: Symbols) -> _Clip:
        channels, rows, columns = shapes["grid"]
        if channels != self._config.grid_channels or shapes["gate"] != (1, rows, columns):
            raise ValueError(f"a grid of {shapes['grid']} and a gate of {shapes['gate']}")
        return _Clip(
            rows=rows,
            columns=columns,
            reference=_integers(before.get("grid")),
            step=_step(self._config, step_index),
        )


class Tables(ctypes.Structure):
    """``nrv_tables``."""

    _fields_ = (
        ("below", POINTER(c_uint32)),
        ("starts", POINTER(c_uint32)),
        ("buckets", POINTER(c_uint16)),
        ("ones", POINTER(c_uint32)),
    )


class _Clip(ctypes.Structure):
    _fields_ = (
        ("rows", c_int),
        ("columns", c_int),
        ("reference", POINTER(c_int32)),
        ("step", c_int32 * STEP_KNOTS),
    )


class _Found(ctypes.Structure):
    _fields_ = (
        ("data", c_char_p),
        ("words", c_size_t),
        ("motion_channels", c_int),
        ("motion_rows", c_int),
        ("motion_columns", c_int),
        ("sway_channels", c_int),
        ("sway_rows", c_int),
        ("sway_columns", c_int),
        ("motion", POINTER(c_int32)),
        ("sway", POINTER(c_int32)),
        ("gate", POINTER(c_int32)),
        ("grid", POINTER(c_int32)),
    )


class _Sent(ctypes.Structure):
    _fields_ = (
        ("gate", POINTER(c_int32)),
        ("grid", POINTER(c_int32)),
        ("room", c_size_t),
        ("keys", POINTER(c_uint8)),
        ("values", POINTER(c_int32)),
        ("counts", c_size_t * _LISTS),
    )


@functools.cache
def _tables() -> tuple[Tables, tuple[NDArray[Any], ...]]:
    """The tables of the format for the kernels, and the arrays they point into."""
    tables, ones = cumulative_tables(), one_frequencies()
    structure = Tables(
        below=tables.below.ctypes.data_as(POINTER(c_uint32)),
        starts=tables.starts.ctypes.data_as(POINTER(c_uint32)),
        buckets=tables.buckets.ctypes.data_as(POINTER(c_uint16)),
        ones=ones.ctypes.data_as(POINTER(c_uint32)),
    )
    return structure, (tables.below, tables.starts, tables.buckets, ones)


@functools.lru_cache(maxsize=64)
def _step(config: PriorConfig, step_index: int) -> Any:
    weights = config.step_weights(torch.tensor([step_index]))[0]
    return (c_int32 * STEP_KNOTS)(*(int(weight) for weight in weights))


def _contiguous(symbols: Symbols | None, shapes: Shapes) -> dict[str, IntArray]:
    """Some of the symbols, which must have these shapes; none if there are no symbols."""
    if symbols is None:
        return {}
    found = {name: np.ascontiguousarray(symbols[name], np.int32) for name in shapes}
    for name, shape in shapes.items():
        if found[name].shape != tuple(shape):
            raise ValueError(f"{name} of {found[name].shape}, not {tuple(shape)}")
    return found


def _integers(array: IntArray | None) -> Any:
    return None if array is None else array.ctypes.data_as(POINTER(c_int32))


def _check(error: int) -> None:
    if error == _NO_MEMORY:
        raise MemoryError
    if error:
        raise InvalidStream(_ERRORS[error])
