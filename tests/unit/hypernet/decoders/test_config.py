from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypernet.decoders import build_decoder, config_to_fields
from hypernet.decoders.config import config_from_fields
from hypernet.decoders.nerv import NervConfig, NervDecoder
from hypernet.errors import InvalidStream
from hypernet.weights import ClipShape

CLIP = ClipShape(frames=2, height=8, width=8)
NERV = NervConfig(
    frequencies=4, hidden=6, widths=(7, 5), strides=(2,), head_kernel=1, head_stride=1
)
NERV_FIELDS = (4, 6, 2, 7, 5, 1, 2, 1, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Config:
    depth: int
    widths: tuple[int, ...]
    kernel: int


U32 = st.integers(0, 2**32 - 1)


@settings(deadline=None)
@given(depth=U32, widths=st.lists(U32, max_size=32), kernel=U32)
def test_configurations_survive_the_wire(depth: int, widths: list[int], kernel: int) -> None:
    config = _Config(depth=depth, widths=tuple(widths), kernel=kernel)
    assert config_from_fields(_Config, config_to_fields(config)) == config


def test_wire_form() -> None:
    assert config_to_fields(NERV) == NERV_FIELDS
    assert config_from_fields(NervConfig, NERV_FIELDS) == NERV


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ((), "too early"),
        ((1, 2, 7), "too early"),
        ((1, 2, 7, 7, 3, 9), "too many"),
        ((1, 33, *range(33), 3), "at most 32"),
    ],
)
def test_lists_of_the_wrong_length_are_refused(fields: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        config_from_fields(_Config, fields)


def test_unknown_decoders_are_invalid_streams() -> None:
    with pytest.raises(InvalidStream, match="unknown decoder 999"):
        build_decoder(999, NERV_FIELDS, CLIP)


@pytest.mark.parametrize(
    "fields", [NERV_FIELDS[:-1], (*NERV_FIELDS, 1), (4, 6, 2, 7, 5000, 1, 2, 1, 1)]
)
def test_bad_configurations_are_invalid_streams(fields: tuple[int, ...]) -> None:
    with pytest.raises(InvalidStream, match="decoder configuration"):
        build_decoder(NervDecoder.wire_id, fields, CLIP)
