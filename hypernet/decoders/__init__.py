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

__all__ = ["ARCHITECTURES", "Decoder", "Weights", "build_decoder", "config_to_fields"]


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
    if wire_id not in ARCHITECTURES:
        raise InvalidStream(f"unknown decoder {wire_id}: written by a newer version?")
    decoder_type, config_type = ARCHITECTURES[wire_id]
    try:
        config = config_from_fields(config_type, config_fields)
        shipped = () if base is None else (base,)
        decoder: Decoder = decoder_type(config, clip, *shipped)
    except ValueError as error:
        raise InvalidStream(f"decoder configuration: {error}") from error
    return decoder
