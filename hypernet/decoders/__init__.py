"""Decoder networks. ``ARCHITECTURES`` is append-only: wire ids are never reused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from hypernet.decoders.base import Decoder, Weights
from hypernet.decoders.config import config_from_fields, config_to_fields
from hypernet.decoders.hyponet import Hyponet, HyponetConfig
from hypernet.decoders.nerv import NervConfig, NervDecoder
from hypernet.decoders.nerv_plus import NervPlusConfig, NervPlusDecoder
from hypernet.decoders.nirvana import NirvanaConfig, NirvanaDecoder
from hypernet.decoders.srnerv import SrNervConfig, SrNervDecoder
from hypernet.decoders.tubelet import Tubelet, TubeletConfig
from hypernet.errors import InvalidStream
from hypernet.weights import ClipShape

ARCHITECTURES: dict[int, tuple[type[Any], type[Any]]] = {
    NervDecoder.wire_id: (NervDecoder, NervConfig),
    NervPlusDecoder.wire_id: (NervPlusDecoder, NervPlusConfig),
    SrNervDecoder.wire_id: (SrNervDecoder, SrNervConfig),
    NirvanaDecoder.wire_id: (NirvanaDecoder, NirvanaConfig),
    Tubelet.wire_id: (Tubelet, TubeletConfig),
    Hyponet.wire_id: (Hyponet, HyponetConfig),
}

RETIRED = frozenset({4, 5, 7})
"""Wire ids of decoders of earlier versions."""

__all__ = [
    "ARCHITECTURES",
    "Decoder",
    "Weights",
    "build_decoder",
    "check_known",
    "config_to_fields",
]


def check_known(wire_id: int) -> None:
    """Refuse a decoder that this version does not have.

    Raises:
        InvalidStream: the message says whose it may be.
    """
    if wire_id in RETIRED:
        raise InvalidStream(
            f"decoder {wire_id} is that of an earlier version: decode the stream with the nrv "
            "that wrote it, or encode its source again"
        )
    if wire_id not in ARCHITECTURES:
        raise InvalidStream(f"unknown decoder {wire_id}: written by a newer version?")


def build_decoder(
    wire_id: int,
    config_fields: Sequence[int],
    clip: ClipShape,
    base: Mapping[str, Tensor] | None = None,
) -> Decoder:
    """The decoder that a stream header names.

    Args:
        wire_id: of the architecture.
        config_fields: its configuration.
        clip: what it renders.
        base: kernels of the stream's decode file, None if it has none.

    Raises:
        InvalidStream: unknown decoder, or a configuration out of its range.
    """
    check_known(wire_id)
    decoder_type, config_type = ARCHITECTURES[wire_id]
    try:
        config = config_from_fields(config_type, config_fields)
        shipped = () if base is None else (base,)
        decoder: Decoder = decoder_type(config, clip, *shipped)
    except ValueError as error:
        raise InvalidStream(f"decoder configuration: {error}") from error
    return decoder
