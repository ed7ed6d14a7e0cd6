"""The audio section: exact round trip, and nothing but InvalidStream for anything else."""

from __future__ import annotations

import dataclasses
import random
import struct
import zlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypernet.errors import InvalidStream
from hypernet.video.audio_blob import (
    CARRIERS,
    COLUMNS,
    NO_TIME,
    AudioTrack,
    pack_audio,
    unpack_audio,
)


def track(num_packets: int = 5, **changes: object) -> AudioTrack:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 60, num_packets)
    times = np.arange(num_packets) * 1024 - 1024
    columns = [sizes, times, times, np.full(num_packets, 1024), np.ones(num_packets)]
    columns += [np.arange(num_packets) % 2 * 300, np.zeros(num_packets)]
    usual = AudioTrack(
        carrier_format="mp4",
        carrier=b"carrier",
        time_base=Fraction(1, 44100),
        language="deu",
        table_NC=np.stack(columns, axis=1).astype(np.int64),
        payload=rng.bytes(int(sizes.sum())),
    )
    return dataclasses.replace(usual, **changes)  # type: ignore[arg-type]


def assert_same(one: AudioTrack, other: AudioTrack) -> None:
    np.testing.assert_array_equal(one.table_NC, other.table_NC)
    for name in ("carrier_format", "carrier", "time_base", "language", "payload"):
        assert getattr(one, name) == getattr(other, name)


def test_round_trip() -> None:
    tracks = (track(), track(1, carrier_format="nut", language=""), track(300))
    for one, other in zip(tracks, unpack_audio(pack_audio(tracks)), strict=True):
        assert_same(one, other)


def test_packets() -> None:
    packets = list(track().packets())
    assert b"".join(packet.data for packet in packets) == track().payload
    assert [packet.pts for packet in packets] == [-1024, 0, 1024, 2048, 3072]
    assert [packet.skip_start for packet in packets] == [0, 300, 0, 300, 0]
    assert all(packet.key for packet in packets)


def test_an_unknown_time_is_none() -> None:
    table = track().table_NC.copy()
    table[2, 1] = NO_TIME
    (copy,) = unpack_audio(pack_audio((track(table_NC=table),)))
    assert [packet.pts for packet in copy.packets()] == [-1024, 0, None, 2048, 3072]


def test_regular_packets_cost_a_few_bytes() -> None:
    size = len(pack_audio((track(3000),))) - len(track(3000).payload)
    assert size < 3000 * 2


@settings(max_examples=30, deadline=None)
@given(
    times=st.lists(st.integers(-(1 << 59), 1 << 59), min_size=1, max_size=20, unique=True),
    durations=st.integers(0, 1 << 40),
    base=st.tuples(st.integers(1, (1 << 31) - 1), st.integers(1, (1 << 31) - 1)),
)
def test_any_times(times: list[int], durations: int, base: tuple[int, int]) -> None:
    count = len(times)
    table = np.zeros((count, len(COLUMNS)), np.int64)
    table[:, 0], table[:, 3] = 1, durations
    table[:, 1] = table[:, 2] = sorted(times)
    usual = track(table_NC=table, payload=bytes(count), time_base=Fraction(*base))
    (copy,) = unpack_audio(pack_audio((usual,)))
    assert_same(usual, copy)


@pytest.mark.parametrize(
    ("column", "row", "value"),
    [
        ("size", 0, 0),
        ("size", 0, -1),
        ("size", 1, 1 << 40),
        ("pts", 1, 1 << 62),
        ("dts", 2, -1024),
        ("dts", 0, NO_TIME),
        ("duration", 3, -1),
        ("key", 0, 2),
        ("skip_start", 0, -1),
        ("skip_end", 0, 1 << 33),
    ],
)
def test_tables_out_of_range(column: str, row: int, value: int) -> None:
    table = track().table_NC.copy()
    table[row, COLUMNS.index(column)] = value
    with pytest.raises(InvalidStream):
        unpack_audio(pack_audio((track(table_NC=table),)))


def field(blob: bytes, position: int, layout: str, value: int) -> bytes:
    size = struct.calcsize(layout)
    return blob[:position] + struct.pack(layout, value) + blob[position + size :]


@pytest.mark.parametrize(
    ("position", "layout", "value"),
    [
        (0, "<I", 0),  # signature
        (4, "<B", 2),  # version
        (5, "<B", 0),  # number of tracks
        (5, "<B", 33),
        (6, "<B", len(CARRIERS)),  # carrier format
        (7, "<I", 0),  # time base
        (11, "<I", 0),
        (7, "<I", 1 << 31),
        (11, "<I", 1 << 31),
        (15, "<B", 255),  # language
        (19, "<I", (1 << 32) - 1),  # carrier
        (30, "<I", 0),  # number of packets
        (30, "<I", 6),
        (30, "<I", (1 << 32) - 1),
        (34, "<I", (1 << 32) - 1),  # table
    ],
)
def test_fields_out_of_range(position: int, layout: str, value: int) -> None:
    blob = pack_audio((track(),))
    assert blob[23:30] == b"carrier"
    with pytest.raises(InvalidStream):
        unpack_audio(field(blob, position, layout, value))


def test_a_table_that_inflates_without_end_is_stopped() -> None:
    blob = pack_audio((track(),))
    bomb = zlib.compress(bytes(50 << 20), 9)
    start, length = 38, struct.unpack("<I", blob[34:38])[0]
    hostile = blob[:34] + struct.pack("<I", len(bomb)) + bomb + blob[start + length :]
    with pytest.raises(InvalidStream, match="wrong length"):
        unpack_audio(hostile)


def test_bytes_after_the_end() -> None:
    with pytest.raises(InvalidStream, match="after its last track"):
        unpack_audio(pack_audio((track(),)) + b"\0")


def test_every_truncation() -> None:
    blob = pack_audio((track(), track(2)))
    for length in range(len(blob)):
        with pytest.raises(InvalidStream):
            unpack_audio(blob[:length])


def test_mutants_are_refused_or_read() -> None:
    blob = pack_audio((track(), track(40)))
    rng = random.Random(0)
    for _ in range(3000):
        mutant = bytearray(blob)
        for _ in range(rng.choice((1, 1, 2, 8))):
            mutant[rng.randrange(len(mutant))] = rng.choice((0, 255, rng.randrange(256)))
        try:
            tracks = unpack_audio(bytes(mutant))
        except InvalidStream:
            continue
        assert sum(len(packet.data) for one in tracks for packet in one.packets()) <= len(blob)
