from __future__ import annotations

import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypernet.bitstream import entropy
from hypernet.bitstream.entropy import MAX_MAGNITUDE, SymbolDecoder, SymbolEncoder
from hypernet.bitstream.tables import NUM_TABLES, TABLES_PATH, cost_table, load_tables
from hypernet.errors import EncodeFailed, InvalidStream
from tests.unit.hypernet.bitstream.reference_decoder import ClipDecoder, RangeDecoder


def encode(symbols: list[int], tables: list[int] | int) -> bytes:
    encoder = SymbolEncoder()
    indices = tables if isinstance(tables, int) else np.array(tables, dtype=np.uint16)
    encoder.encode(np.array(symbols, dtype=np.int32), indices)
    return encoder.finish()


def decode(data: bytes, count: int, tables: list[int] | int) -> list[int]:
    decoder = SymbolDecoder(data)
    indices = tables if isinstance(tables, int) else np.array(tables, dtype=np.uint16)
    symbols = decoder.decode(indices, count)
    decoder.finish()
    assert symbols.dtype == np.int32
    return [int(symbol) for symbol in symbols]


def test_exact_bytes_of_one_table() -> None:
    data = encode([0, 3, -2, 1, 0, 0, -7, 12], 3 * 64 + 40)
    assert np.frombuffer(data, "<u4").tolist() == [2607810435, 97290695]


def test_exact_bytes_with_escapes_and_several_tables() -> None:
    data = encode([5, -100_000, 0, 2, MAX_MAGNITUDE, -1], [700, 10, 10, 300, 300, 5])
    assert np.frombuffer(data, "<u4").tolist() == [1042936, 3594267926, 2250604931, 4291426304]


def test_exact_bytes_of_a_long_seeded_list() -> None:
    rng = np.random.default_rng(1)
    tables = rng.integers(0, NUM_TABLES, 20_000)
    symbols = np.rint(rng.laplace(0, 2.0 ** ((tables % 64 - 38) / 3)))
    data = encode(symbols.astype(int).tolist(), tables.tolist())
    assert (len(data), zlib.crc32(data)) == (8720, 1091152628)
    assert decode(data, len(symbols), tables.tolist()) == symbols.astype(int).tolist()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_list_comes_back(data: st.DataObject) -> None:
    magnitude = data.draw(st.sampled_from([1, 40, 3000, MAX_MAGNITUDE]))
    symbols = data.draw(st.lists(st.integers(-magnitude, magnitude), max_size=40))
    table = st.integers(0, NUM_TABLES - 1)
    size = len(symbols)
    tables = data.draw(st.one_of(table, st.lists(table, min_size=size, max_size=size)))
    assert decode(encode(symbols, tables), size, tables) == symbols


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 23).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, 2**n - 1))))
)
def test_raw_integers_come_back(fields: list[tuple[int, int]]) -> None:
    encoder = SymbolEncoder()
    for bits, value in fields:
        encoder.encode_bits(value, bits)
    decoder = SymbolDecoder(encoder.finish())
    assert [decoder.decode_bits(bits) for bits, _ in fields] == [value for _, value in fields]
    decoder.finish()


def test_values_agree_with_the_reference_decoder() -> None:
    rng = np.random.default_rng(2)
    tables = rng.integers(0, NUM_TABLES, 300).tolist()
    symbols = np.rint(rng.standard_cauchy(300) * 20).clip(-(2**20), 2**20).astype(int).tolist()
    reference = ClipDecoder(encode(symbols, tables), TABLES_PATH)
    assert reference.values(tables) == symbols
    assert reference.coder.at_end()


@pytest.mark.parametrize("seed", range(40))
def test_arbitrary_words_mean_the_same_to_the_reference_decoder(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 2**32, rng.integers(0, 7), dtype=np.uint32).astype("<u4").tobytes()
    table = int(rng.integers(0, NUM_TABLES))
    frequencies = load_tables().frequencies(table).tolist()
    reference = RangeDecoder(data)
    try:
        expected = [reference.symbol(frequencies) for _ in range(12)]
    except AssertionError:
        expected = []
    decoder = SymbolDecoder(data)
    support = load_tables().support(table)
    if support + 1 in [symbol - support for symbol in expected]:
        pytest.skip("an escape: what follows is not a plain symbol")
    if not expected:
        with pytest.raises(InvalidStream, match="damaged"):
            decoder.decode(table, 12)
        return
    assert (decoder.decode(table, 12) + support).tolist() == expected
    if reference.at_end():
        decoder.finish()
    else:
        with pytest.raises(InvalidStream, match="goes on"):
            decoder.finish()


def test_size_is_the_information_content() -> None:
    rng = np.random.default_rng(3)
    symbols = np.rint(rng.laplace(0, 5, 50_000)).astype(int)
    table = 3 * 64 + 45
    bits = cost_table()[np.abs(symbols), table].sum(dtype=np.float64)
    assert len(encode(symbols.tolist(), table)) * 8 == pytest.approx(bits, rel=2e-4)


@pytest.mark.parametrize("symbol", [MAX_MAGNITUDE + 1, -MAX_MAGNITUDE - 1, -(2**31), 2**31 - 1])
def test_too_large_a_symbol_is_refused(symbol: int) -> None:
    with pytest.raises(EncodeFailed, match="larger step"):
        encode([0, symbol], 0)


def test_decoding_takes_at_most_48_bytes_per_value_even_if_all_escape() -> None:
    rng = np.random.default_rng(4)
    count = 200_000
    tables = rng.integers(0, NUM_TABLES, count).astype(np.uint16)
    encoder = SymbolEncoder()
    encoder.encode(rng.integers(2**20, 2**24, count).astype(np.int32), tables)
    data = encoder.finish()
    SymbolDecoder(data).decode(tables, count)  # the models of all tables are made once
    tracemalloc.start()
    SymbolDecoder(data).decode(tables, count)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - len(data) < 48 * count


def test_nothing_takes_no_bytes() -> None:
    assert encode([], 5) == b""
    assert encode([], []) == b""
    assert decode(b"", 0, 5) == []


def test_a_partial_word_is_refused() -> None:
    with pytest.raises(InvalidStream, match="multiple of 4"):
        SymbolDecoder(b"\0" * 6)


def test_trailing_words_are_refused() -> None:
    data = encode([1, 2, 3], 200)
    with pytest.raises(InvalidStream, match="goes on"):
        decode(data + b"\1\2\3\4\5\6\7\10", 3, 200)


@pytest.mark.parametrize("length", [0, 25, 31])
def test_an_impossible_escape_is_refused(length: int) -> None:
    encoder = SymbolEncoder()
    escape = 2 * load_tables().support(0) + 1
    encoder._coder.encode(np.array([escape], np.int32), entropy._model(0, 0))
    encoder.encode_bits(length, 6)
    with pytest.raises(InvalidStream, match="invalid length"):
        SymbolDecoder(encoder.finish()).decode(0, 1)


def test_words_that_no_encoder_writes_are_refused() -> None:
    with pytest.raises(InvalidStream, match="damaged"):
        SymbolDecoder(b"\xff" * 20).decode(0, 10)
    with pytest.raises(InvalidStream, match="damaged"):
        SymbolDecoder(b"\xff" * 20).decode_bits(6)


def test_a_panic_of_the_coder_is_translated_and_an_interrupt_is_not() -> None:
    panic = type("PanicException", (BaseException,), {})
    with pytest.raises(InvalidStream), entropy._invalid_stream():
        raise panic
    with pytest.raises(KeyboardInterrupt), entropy._invalid_stream():
        raise KeyboardInterrupt
