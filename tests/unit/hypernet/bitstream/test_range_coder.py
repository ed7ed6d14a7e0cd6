"""The C range coder reads what constriction reads, and refuses what it refuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from hypernet.bitstream.entropy import MAX_MAGNITUDE, SymbolDecoder, SymbolEncoder
from hypernet.bitstream.flags import NUM_LEVELS
from hypernet.bitstream.tables import (
    BUCKET,
    NUM_TABLES,
    TOTAL,
    cumulative_tables,
    load_tables,
)
from tests.unit.hypernet.bitstream.native_reader import LIBRARY, NativeReader, outcome

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="the C kernels were not built")

Random = np.random.Generator
Plan = list[tuple[str, NDArray[np.uint16], int]]


def _plan(rng: Random, length: int) -> Plan:
    """Kinds of what is read, with tables or levels, and a number of bits."""
    plan: Plan = []
    for _ in range(length):
        kind = str(rng.choice(["symbols", "row", "flags", "bits"]))
        count = int(rng.integers(0, 60))
        few = rng.integers(0, NUM_TABLES, rng.integers(1, 9))
        tables = rng.choice(few, count)
        if kind == "flags":
            tables = rng.integers(0, NUM_LEVELS, count)
        plan.append((kind, tables.astype(np.uint16), int(rng.integers(1, 24))))
    return plan


def _encoded(plan: Plan, rng: Random) -> bytes:
    encoder = SymbolEncoder()
    for kind, tables, bits in plan:
        values = np.rint(rng.laplace(0, 2.0 ** ((tables.astype(int) % 64 - 38) / 3)))
        large = rng.integers(-MAX_MAGNITUDE, MAX_MAGNITUDE + 1, values.size)
        values = np.where(rng.random(values.size) < 0.02, large, values).astype(np.int32)
        if kind == "symbols":
            encoder.encode(values, tables)
        elif kind == "row":
            encoder.encode(values, int(tables[0]) if tables.size else 0)
        elif kind == "flags":
            encoder.encode_flags(rng.integers(0, 2, tables.size).astype(np.int32), tables)
        else:
            encoder.encode_bits(int(rng.integers(0, 2**bits)), bits)
    return encoder.finish()


def _expected(data: bytes, plan: Plan) -> Iterator[object]:
    decoder = SymbolDecoder(data)
    for kind, tables, bits in plan:
        if kind == "symbols":
            yield decoder.decode(tables, tables.size)
        elif kind == "row":
            yield decoder.decode(int(tables[0]) if tables.size else 0, tables.size)
        elif kind == "flags":
            yield decoder.decode_flags(tables)
        else:
            yield decoder.decode_bits(bits)
    decoder.finish()


def _found(data: bytes, plan: Plan) -> Iterator[object]:
    reader = NativeReader(data)
    for kind, tables, bits in plan:
        if kind == "symbols":
            chosen, keys = np.unique(tables, return_inverse=True)
            yield reader.symbols(chosen, keys.astype(np.uint8))
        elif kind == "row":
            yield reader.row(int(tables[0]) if tables.size else 0, tables.size)
        elif kind == "flags":
            yield reader.flags(tables.astype(np.uint8))
        else:
            yield reader.bits(bits)
    reader.finish()


@pytest.mark.parametrize("seed", range(30))
def test_what_is_written_is_read(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plan = _plan(rng, 12)
    data = _encoded(plan, rng)
    expected = outcome(_expected(data, plan))
    assert not isinstance(expected, str)
    assert outcome(_found(data, plan)) == expected


def test_damaged_and_arbitrary_words_mean_the_same() -> None:
    rng = np.random.default_rng(1)
    seen: Counter[str] = Counter()
    for number in range(1500):
        plan = _plan(rng, int(rng.integers(1, 4)))
        data = bytearray(_encoded(plan, rng))
        words = rng.integers(0, 2**32, rng.integers(0, 9), dtype=np.uint32)
        if number % 4 == 0:
            data = bytearray(words.tobytes() if number % 8 else b"\xff" * 4 * len(words))
        elif number % 4 == 1:
            data = data[: 4 * rng.integers(0, len(data) // 4 + 1)]
        elif number % 4 == 2:
            data += words[:2].tobytes()
        elif data:
            for place in rng.integers(0, len(data), 3):
                data[place] = (0, 255, int(rng.integers(256)))[rng.integers(3)]
        expected = outcome(_expected(bytes(data), plan))
        assert outcome(_found(bytes(data), plan)) == expected
        seen[expected if isinstance(expected, str) else "read"] += 1
    assert seen["read"] > 100
    assert min(seen.values()) > 20
    assert len(seen) == 4, "not every kind of damage was reached"


@pytest.mark.parametrize("table", [0, 63, 192, 255, 511, 700, NUM_TABLES - 1])
def test_every_symbol_of_a_table_is_found(table: int) -> None:
    support = load_tables().support(table)
    symbols = np.arange(-support - 3, support + 4, dtype=np.int32)
    encoder = SymbolEncoder()
    encoder.encode(symbols, table)
    reader = NativeReader(encoder.finish())
    assert reader.row(table, symbols.size).tolist() == symbols.tolist()
    reader.finish()


@pytest.mark.parametrize("words", [[], [0], [2**32 - 1], [2**32 - 1] * 5, [0] * 5, [1, 2, 3]])
def test_the_edges_of_the_range_mean_the_same(words: list[int]) -> None:
    data = np.array(words, "<u4").tobytes()
    for tables in ([5] * 4, [1000] * 40, [], [3, 900, 3]):
        kinds: Plan = [
            (kind, np.array(tables, np.uint16) % NUM_LEVELS, 6) for kind in ("symbols", "flags")
        ]
        for plan in (kinds, kinds[::-1], kinds[1:]):
            expected = outcome(_expected(data, plan))
            assert outcome(_found(data, plan)) == expected


def test_cumulative_tables_are_those_of_the_frequencies() -> None:
    tables = cumulative_tables()
    for table in (0, 200, 640, NUM_TABLES - 1):
        below = tables.below[tables.starts[table] : tables.starts[table + 1]].astype(int)
        assert np.diff(below).tolist() == load_tables().frequencies(table).tolist()
        assert below[-1] == TOTAL
        for bucket, symbol in enumerate(tables.buckets[table, :-1]):
            assert below[symbol] <= bucket * BUCKET < below[symbol + 1]
        assert tables.buckets[table, -1] == len(below) - 2
