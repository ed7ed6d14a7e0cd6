from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypernet.bitstream.header import (
    HEADER_FIELDS,
    MAX_CONFIG_FIELDS,
    StreamHeader,
    pack_header,
    unpack_header,
)
from hypernet.bitstream.limits import Limits
from hypernet.errors import InvalidStream
from tests.unit.hypernet.bitstream.samples import sample_header

U32 = st.integers(1, 2**32 - 1)
BYTE = st.integers(0, 255)

HEADERS = st.builds(
    StreamHeader,
    width=st.integers(1, 8192),
    height=st.integers(1, 4352),
    num_frames=st.integers(1, 10_000_000),
    time_base_num=U32,
    time_base_den=U32,
    rotation=st.sampled_from([0, 90, 180, 270]),
    pixel_aspect_num=U32,
    pixel_aspect_den=U32,
    colour_primaries=BYTE,
    colour_transfer=BYTE,
    colour_matrix=BYTE,
    full_range=st.booleans(),
    bit_depth=st.integers(1, 16),
    decoder=st.integers(0, 65535),
    decode_file=st.binary(min_size=32, max_size=32),
    decoder_config=st.lists(st.integers(0, 2**32 - 1), max_size=20).map(tuple),
)


@given(HEADERS)
def test_every_header_comes_back(header: StreamHeader) -> None:
    assert unpack_header(pack_header(header)) == header


def test_the_bytes_are_pinned() -> None:
    assert pack_header(sample_header()).hex() == (
        "56030000e00100001600000001000000905f010000000100000001000000010101000807"
        "00000000000000000000000000000000000000000000000000000000000000000003000300"
        "00000100000004000000"
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("width", 0),
        ("width", 8193),
        ("height", 0),
        ("num_frames", 0),
        ("num_frames", 10_000_001),
        ("time_base_num", 0),
        ("time_base_den", 0),
        ("rotation", 45),
        ("rotation", 360),
        ("pixel_aspect_num", 0),
        ("pixel_aspect_den", 0),
        ("colour_matrix", 256),
        ("full_range", 2),
        ("bit_depth", 0),
        ("bit_depth", 17),
        ("decoder", -1),
        ("decode_file", b"short"),
        ("decode_file", 0),
        ("width", bytes(32)),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidStream, match=rf"{field} is .*, allowed is"):
        pack_header(sample_header(**{field: value}))


def test_a_value_out_of_range_in_the_bytes_is_refused() -> None:
    packed = bytearray(pack_header(sample_header()))
    packed[20] = 1  # rotation
    with pytest.raises(InvalidStream, match=r"rotation is 1, allowed is 0\.\.270, multiple of 90"):
        unpack_header(bytes(packed))


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        (Limits(max_width=853), "width is 854"),
        (Limits(max_height=479), "height is 480"),
        (Limits(max_pixels=854 * 480 - 1), "width x height"),
        (Limits(max_frames=21), "number of frames is 22"),
    ],
)
def test_tighter_limits_are_kept(limits: Limits, what: str) -> None:
    with pytest.raises(InvalidStream, match=what):
        unpack_header(pack_header(sample_header()), limits=limits)


@pytest.mark.parametrize("config", [(2**32,), (-1,), (0,) * (MAX_CONFIG_FIELDS + 1)])
def test_configurations_that_do_not_fit_are_refused(config: tuple[int, ...]) -> None:
    with pytest.raises(InvalidStream, match="configuration field"):
        pack_header(sample_header(decoder_config=config))


def test_too_short_and_too_long_headers_are_refused() -> None:
    packed = pack_header(sample_header())
    for length in (0, 10, len(packed) - 13, len(packed) - 1):
        with pytest.raises(InvalidStream, match="the header has"):
            unpack_header(packed[:length])
    with pytest.raises(InvalidStream, match="the header has"):
        unpack_header(packed + b"\0")
    with pytest.raises(InvalidStream, match="configuration fields is 65535"):
        unpack_header(packed[:-14] + b"\xff\xff" + packed[-12:])


def test_a_newer_minor_version_may_append_fields() -> None:
    packed = pack_header(sample_header())
    assert unpack_header(packed + b"more", allow_more=True) == sample_header()


def test_every_attribute_is_declared_and_described() -> None:
    names = [field.name for field in dataclasses.fields(StreamHeader)]
    assert names == [*HEADER_FIELDS, "decoder_config"]
    rows = sample_header(full_range=True).describe()
    assert [name for name, _, _ in rows] == names
    values = {name: value for name, value, _ in rows}
    assert values["width"] == "854"
    assert values["full_range"] == "1"
    assert values["decode_file"] == "00" * 32
    assert values["decoder_config"] == "3 1 4"
