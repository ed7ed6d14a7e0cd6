"""Range coding of integers with the committed frequency tables.

The coder is constriction's range coder (``queue``: words of 32 bits, probabilities of 24 bits). It
takes probabilities as floats and rescales them by ``(2^24 - n) / sum`` before it adds 1 to each of
the n symbols. Tables sum to 2^24, so passing each frequency minus 1 makes that factor exactly 1 and
every intermediate an integer below 2^24: the model *is* the integer table, on every platform.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from hypernet.bitstream.flags import NUM_LEVELS, flag_model
from hypernet.bitstream.tables import ESCAPE_HEAD_BITS, NUM_TABLES, load_tables
from hypernet.errors import EncodeFailed, InvalidStream

MAX_MAGNITUDE = (1 << 24) - 1
WORD_BYTES = 4

Symbols = NDArray[np.int32]
TableIndices = NDArray[np.uint16]

_SIGN_BIT = 1 << (ESCAPE_HEAD_BITS - 1)
_MIN_LENGTH, _MAX_LENGTH = 1, 24


class SymbolEncoder:
    """Appends integers to one range coder stream."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def encode(self, symbols: Symbols, tables: TableIndices | int, *, skew: int = 0) -> None:
        """Append symbols, each coded with its own table.

        Wire order: by table index ascending, within a table in the order given; then what escaped.

        Args:
            symbols: int32, shape [N], magnitudes at most ``MAX_MAGNITUDE``.
            tables: uint16, shape [N], or one table for all.
            skew: of every table, see :meth:`FrequencyTables.frequencies`.

        Raises:
            EncodeFailed: a magnitude is too large to be coded.
        """
        if exceeds_magnitude(symbols):
            raise EncodeFailed(f"a weight symbol exceeds {MAX_MAGNITUDE}: use a larger step")
        escaped = np.zeros(symbols.shape, dtype=bool)
        for table, where in _groups(tables, symbols.size):
            group = symbols[where]
            support = load_tables().support(table)
            outside = np.abs(group) > support
            indices = np.where(outside, 2 * support + 1, group + support).astype(np.int32)
            self._coder.encode(indices, _model(table, skew))
            escaped[where] = outside
        self._encode_escaped(symbols[escaped])

    def encode_flags(self, flags: Symbols, levels: TableIndices) -> None:
        """Append zeros and ones, each at its own level of ``flags``; wire order as ``encode``."""
        for level, where in _groups(levels, flags.size, NUM_LEVELS):
            self._coder.encode(flags[where].astype(np.int32), flag_model(level))

    def encode_bits(self, value: int, num_bits: int) -> None:
        """Append an unsigned integer below ``2^num_bits``; nothing if ``num_bits`` is 0."""
        if num_bits:
            self._encode_raw(np.array([value]), np.array([num_bits]))

    def finish(self) -> bytes:
        """The coded bytes, a multiple of four."""
        words: NDArray[np.uint32] = self._coder.get_compressed()
        return words.astype("<u4").tobytes()

    def _encode_escaped(self, values: Symbols) -> None:
        magnitudes = np.abs(values).astype(np.int64)
        lengths = _bit_lengths(magnitudes)
        heads = np.where(values < 0, _SIGN_BIT, 0) + lengths
        self._encode_raw(heads, np.full(heads.shape, ESCAPE_HEAD_BITS))
        long = lengths > 1
        mantissas = magnitudes[long] - (1 << (lengths[long] - 1))
        self._encode_raw(mantissas, lengths[long] - 1)

    def _encode_raw(self, values: NDArray[Any], num_bits: NDArray[Any]) -> None:
        if values.size:
            sizes = (1 << num_bits).astype(np.int32)
            self._coder.encode(values.astype(np.int32), _UNIFORM, sizes)


class SymbolDecoder:
    """Reads what :class:`SymbolEncoder` wrote, with the same sequence of calls.

    Every method raises :class:`InvalidStream` when the data cannot come from an encoder.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) % WORD_BYTES:
            raise InvalidStream(f"entropy coded data of {len(data)} bytes, not a multiple of 4")
        words = np.frombuffer(data, dtype="<u4").astype(np.uint32)
        self._coder = constriction.stream.queue.RangeDecoder(words)

    def decode(self, tables: TableIndices | int, count: int, *, skew: int = 0) -> Symbols:
        """Read ``count`` symbols, arguments as for the encoder. Returns int32, shape [count]."""
        symbols = np.empty(count, dtype=np.int32)
        escaped = np.zeros(count, dtype=bool)
        for table, where in _groups(tables, count):
            support = load_tables().support(table)
            with _invalid_stream():
                size = count if isinstance(where, slice) else len(where)
                group: Symbols = self._coder.decode(_model(table, skew), size)
            symbols[where] = group - support
            escaped[where] = group == 2 * support + 1
        num_escaped = int(np.count_nonzero(escaped))
        if num_escaped:
            symbols[escaped] = self._decode_escaped(num_escaped)
        return symbols

    def decode_flags(self, levels: TableIndices) -> Symbols:
        """Read one flag per level. Returns int32 zeros and ones, shaped like ``levels``."""
        flags = np.empty(levels.size, dtype=np.int32)
        for level, where in _groups(levels, flags.size, NUM_LEVELS):
            with _invalid_stream():
                size = flags.size if isinstance(where, slice) else len(where)
                flags[where] = self._coder.decode(flag_model(level), size)
        return flags

    def decode_bits(self, num_bits: int) -> int:
        """Read an unsigned integer below ``2^num_bits``; 0 if ``num_bits`` is 0."""
        return int(self._decode_raw(np.array([num_bits], np.int32))[0]) if num_bits else 0

    def finish(self) -> None:
        """Check that nothing is left over."""
        if not self._coder.maybe_exhausted():
            raise InvalidStream("entropy coded data goes on after its last symbol")

    def _decode_escaped(self, count: int) -> Symbols:
        heads = self._decode_raw(np.full(count, ESCAPE_HEAD_BITS, np.int32))
        lengths = heads & (_SIGN_BIT - 1)
        if int(lengths.min()) < _MIN_LENGTH or int(lengths.max()) > _MAX_LENGTH:
            raise InvalidStream("an escaped weight symbol has an invalid length")
        magnitudes: Symbols = np.int32(1) << (lengths - 1)
        long = lengths > 1
        if long.any():
            magnitudes[long] += self._decode_raw(lengths[long] - 1)
        return np.where(heads & _SIGN_BIT, -magnitudes, magnitudes)

    def _decode_raw(self, num_bits: Symbols) -> Symbols:
        with _invalid_stream():
            raw: Symbols = self._coder.decode(_UNIFORM, np.int32(1) << num_bits)
        return raw


def exceeds_magnitude(symbols: Symbols) -> bool:
    """Whether any magnitude is above ``MAX_MAGNITUDE``."""
    if not symbols.size:
        return False
    return int(symbols.max()) > MAX_MAGNITUDE or int(symbols.min()) < -MAX_MAGNITUDE


_UNIFORM = constriction.stream.model.Uniform()


@functools.lru_cache(maxsize=2 * NUM_TABLES)
def _model(table: int, skew: int) -> Any:
    weights = load_tables().frequencies(table, skew).astype(np.float32) - 1
    return constriction.stream.model.Categorical(weights, perfect=False)


def _groups(
    tables: TableIndices | int, count: int, num_tables: int = NUM_TABLES
) -> Iterator[tuple[int, slice | NDArray[np.int64]]]:
    """(table, positions) by ascending table; positions ascend within a table."""
    if isinstance(tables, int):
        if count:
            yield tables, slice(None)
        return
    order = np.argsort(tables, kind="stable")
    counts = np.bincount(tables, minlength=num_tables)
    ends = np.cumsum(counts)
    for table in np.flatnonzero(counts):
        yield int(table), order[ends[table] - counts[table] : ends[table]]


def _bit_lengths(magnitudes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.frexp(magnitudes.astype(np.float64))[1].astype(np.int64)


@contextmanager
def _invalid_stream() -> Iterator[None]:
    """Translate what constriction raises. A Rust panic derives from BaseException only."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise InvalidStream("the entropy coded data is damaged") from error
        raise
