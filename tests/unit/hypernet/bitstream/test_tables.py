from __future__ import annotations

import hashlib

import numpy as np
import pytest

from hypernet.bitstream import tables
from hypernet.bitstream.segment import VALUES_PER_BYTE
from hypernet.bitstream.tables import (
    MAX_SKEW,
    MAX_SUPPORT,
    NUM_SCALES,
    NUM_TABLES,
    TABLES_PATH,
    TOTAL,
    cost_table,
    escape_bits,
    generate_tables,
    load_tables,
)

SHA256 = "2d0cf2c87f978d58cc783a1ae565cbf573907852dfab95c13e4ae44f60ac6ecd"


def test_the_committed_file_never_changes() -> None:
    assert hashlib.sha256(TABLES_PATH.read_bytes()).hexdigest() == SHA256


def test_every_table_is_a_symmetric_distribution_of_positive_integers() -> None:
    for table in range(NUM_TABLES):
        frequencies = load_tables().frequencies(table).astype(np.int64)
        support = load_tables().support(table)
        assert len(frequencies) == 2 * support + 2
        assert 15 <= support <= MAX_SUPPORT
        assert frequencies.min() >= 1
        assert frequencies.sum() == TOTAL
        np.testing.assert_array_equal(frequencies[:-1], frequencies[-2::-1])
        # The escape symbol's share comes from zero: a flat shape has a shallow dip there.
        assert np.diff(frequencies[support:-1]).max() < TOTAL / 10_000


def test_scales_go_from_almost_always_zero_to_deviations_of_hundreds() -> None:
    for shape in range(NUM_TABLES // NUM_SCALES):
        first, last = shape * NUM_SCALES, (shape + 1) * NUM_SCALES - 1
        assert load_tables().halves[first][0] > 0.9998 * TOTAL
        frequencies = load_tables().frequencies(last)[:-1].astype(np.float64)
        magnitudes = np.abs(np.arange(len(frequencies)) - len(frequencies) // 2)
        deviation = np.sqrt((frequencies * magnitudes**2).sum() / frequencies.sum())
        assert 60 < deviation < 700


def test_no_scale_is_narrower_than_the_one_before() -> None:
    zeros = np.array([half[0] for half in load_tables().halves]).reshape(-1, NUM_SCALES)
    assert np.diff(zeros.astype(np.int64), axis=1).max() < TOTAL / 10_000


def test_costs_are_those_of_the_frequencies() -> None:
    costs = cost_table()
    assert costs.shape == (MAX_SUPPORT + 2, NUM_TABLES)
    table = 3 * NUM_SCALES + 40
    half = load_tables().halves[table]
    support = load_tables().support(table)
    assert costs[2, table] == pytest.approx(-np.log2(half[2] / TOTAL))
    escape = -np.log2(half[-1] / TOTAL)
    assert costs[-1, table] == pytest.approx(escape)
    assert costs[support + 1, table] == pytest.approx(escape + 6 + np.floor(np.log2(support + 1)))
    np.testing.assert_array_equal(escape_bits(np.array([1, 2, 3, 4, 2**24 - 1])), [6, 7, 7, 8, 29])


def test_no_table_codes_more_values_in_a_byte_than_a_reader_allows() -> None:
    assert 8 / cost_table().min() < VALUES_PER_BYTE


def test_the_generator_still_makes_these_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    # One shape stands for all: the whole file takes half a minute. Another platform may round
    # differently, so frequencies may differ by a few parts in 2^24.
    gaussian = tables._shapes()[5:6]
    monkeypatch.setattr(tables, "_shapes", lambda: gaussian)
    flat = generate_tables().astype(np.int64)
    expected = load_tables().halves[5 * NUM_SCALES : 6 * NUM_SCALES]
    assert flat[:NUM_SCALES].tolist() == [len(half) - 2 for half in expected]
    difference = flat[NUM_SCALES:] - np.concatenate(expected).astype(np.int64)
    assert np.abs(difference).max() <= 4 * MAX_SUPPORT


@pytest.mark.parametrize("skew", [-MAX_SKEW, -1, 1, MAX_SKEW])
def test_a_skew_moves_frequencies_between_the_signs(skew: int) -> None:
    for table in range(0, NUM_TABLES, 7):
        even = load_tables().frequencies(table)
        skewed = load_tables().frequencies(table, skew)
        support = load_tables().support(table)
        assert skewed.sum() == TOTAL
        assert skewed.min() >= 1
        positive, negative = skewed[support + 1 : -1], skewed[support - 1 :: -1]
        np.testing.assert_array_equal(positive + negative, 2 * even[support + 1 : -1])
        assert ((positive - negative) * np.sign(skew) >= 0).all()
        assert positive[0] - negative[0] == 2 * np.sign(skew) * (even[support + 1] * abs(skew) // 8)
