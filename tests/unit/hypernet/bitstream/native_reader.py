"""The range coder of the C kernels behind the interface of ``SymbolDecoder``."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from ctypes import POINTER, byref, c_char_p, c_size_t, c_uint8, c_uint16, c_uint32, c_uint64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypernet.decoders import native_clip
from hypernet.errors import InvalidStream
from hypernet.native import library

LIBRARY = library.kernels()


class _Reader(ctypes.Structure):
    _fields_ = (
        ("data", c_char_p),
        ("words", c_size_t),
        ("next", c_size_t),
        ("offset", c_uint64),
        ("range", c_uint64),
    )


class NativeReader:
    def __init__(self, data: bytes) -> None:
        assert LIBRARY is not None
        self._library = LIBRARY
        self._tables, self._arrays = native_clip._tables()
        self._data = data
        self._reader = _Reader()
        self._call("nrv_open", data, c_size_t(len(data) // 4))

    def bits(self, num_bits: int) -> int:
        value = c_uint32()
        self._check("nrv_read_bits", num_bits, byref(value))
        return value.value

    def row(self, table: int, count: int) -> NDArray[np.int32]:
        symbols = np.zeros(count, np.int32)
        tables = byref(self._tables)
        self._check("nrv_read_row", tables, table, c_size_t(count), _pointer(symbols))
        return symbols

    def symbols(self, chosen: NDArray[np.uint16], keys: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Each with the table that is chosen for its key."""
        mapped = np.zeros(256, np.uint16)
        mapped[: len(chosen)] = chosen
        symbols, order = np.zeros(len(keys), np.int32), np.zeros(len(keys), np.uint32)
        tables, parts = byref(self._tables), (_pointer(keys), c_size_t(len(keys)))
        results = _pointer(order), _pointer(symbols)
        self._check("nrv_read_symbols", tables, _pointer(mapped), *parts, *results)
        return symbols

    def flags(self, levels: NDArray[np.uint8]) -> NDArray[np.int32]:
        flags, order = np.zeros(len(levels), np.int32), np.zeros(len(levels), np.uint32)
        parts = byref(self._tables), _pointer(levels), c_size_t(len(levels))
        self._check("nrv_read_flags", *parts, _pointer(order), _pointer(flags))
        return flags

    def finish(self) -> None:
        self._check("nrv_at_end")

    def _check(self, name: str, *arguments: Any) -> None:
        native_clip._check(self._call(name, *arguments))

    def _call(self, name: str, *arguments: Any) -> int:
        result: int = getattr(self._library, name)(byref(self._reader), *arguments)
        return result


_KINDS: dict[Any, Any] = {
    np.dtype(np.int32): ctypes.c_int32,
    np.dtype(np.uint32): c_uint32,
    np.dtype(np.uint16): c_uint16,
    np.dtype(np.uint8): c_uint8,
}


def _pointer(array: NDArray[Any]) -> Any:
    return array.ctypes.data_as(POINTER(_KINDS[array.dtype]))


def outcome(read: Iterator[object]) -> list[Any] | str:
    """What is read, or why not."""
    try:
        return [np.asarray(values).tolist() for values in read]
    except InvalidStream as error:
        return str(error)
