"""The weights of one clip as one range coder stream.

Tensors follow in the order of their specs. Each says how it is coded (see FORMAT.md, "Tensor"),
then come its symbols: a decoder needs nothing but the specs and the reference clip's symbols.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hypernet.bitstream.costs import DELTA_SHAPE, Indices
from hypernet.bitstream.entropy import (
    SymbolDecoder,
    SymbolEncoder,
    Symbols,
    TableIndices,
    exceeds_magnitude,
)
from hypernet.bitstream.planning import (
    CENTRE_SCALE,
    SCALE_BITS,
    SHAPE_BITS,
    SKEW_SCALE,
    has_columns,
    level_bits,
    max_level,
    plan_tensor,
    table_scales,
)
from hypernet.bitstream.tables import LAPLACE_SHAPE, MAX_SKEW, NUM_SCALES
from hypernet.errors import InvalidStream
from hypernet.weights import WeightSpec

WeightSymbols = Mapping[str, Symbols]

_CENTRE_TABLE = LAPLACE_SHAPE * NUM_SCALES + CENTRE_SCALE
_SKEW_TABLE = LAPLACE_SHAPE * NUM_SCALES + SKEW_SCALE


def encode_weights(
    symbols: WeightSymbols, specs: Sequence[WeightSpec], reference: WeightSymbols | None = None
) -> bytes:
    """Code the weights of a clip.

    Args:
        symbols: int32 per spec, by name, in the spec's shape, magnitudes below 2^24.
        specs: the tensors in wire order.
        reference: symbols of an earlier clip. A tensor that it holds in the same shape may be coded
            as a difference.

    Raises:
        EncodeFailed: a magnitude is too large.
    """
    encoder = SymbolEncoder()
    for spec in specs:
        encode_tensor(encoder, spec, symbols[spec.name], _matching(spec, reference))
    return encoder.finish()


def decode_weights(
    data: bytes, specs: Sequence[WeightSpec], reference: WeightSymbols | None = None
) -> dict[str, Symbols]:
    """Decode what :func:`encode_weights` made from the same specs and reference.

    Raises:
        InvalidStream: the data cannot come from an encoder.
    """
    decoder = SymbolDecoder(data)
    symbols = {
        spec.name: decode_tensor(decoder, spec, _matching(spec, reference)) for spec in specs
    }
    decoder.finish()
    return symbols


def encode_tensor(
    encoder: SymbolEncoder, spec: WeightSpec, symbols: Symbols, reference: Symbols | None
) -> None:
    """Append one tensor: how it is coded, then its symbols."""
    if symbols.shape != spec.shape or symbols.dtype != np.int32:
        raise ValueError(
            f"{spec.name}: int32 {spec.shape} expected, not {symbols.dtype} {symbols.shape}"
        )
    plan = plan_tensor(symbols, spec, reference)
    if reference is not None:
        encoder.encode_bits(int(plan.residual), 1)
    encoder.encode(np.array([plan.centre], np.int32), _CENTRE_TABLE)
    encoder.encode(np.array([plan.skew], np.int32), _SKEW_TABLE)
    encoder.encode_bits(plan.level, level_bits(spec.rows))
    encoder.encode_bits(plan.shape, SHAPE_BITS)
    scales = plan.scales.steps
    encoder.encode_bits(int(scales[0]), SCALE_BITS)
    _encode_deltas(encoder, np.diff(scales), plan.scales.delta_scale)
    offsets = None
    if has_columns(spec.shape):
        encoder.encode_bits(int(plan.offsets is not None), 1)
        if plan.offsets is not None:
            offsets = plan.offsets.steps
            _encode_deltas(encoder, np.diff(offsets, prepend=0), plan.offsets.delta_scale)
    values = symbols - reference if plan.residual and reference is not None else symbols
    tables = _tables(spec, plan.level, plan.shape, scales, offsets)
    encoder.encode((values - np.int32(plan.centre)).ravel(), tables, skew=plan.skew)


def decode_tensor(decoder: SymbolDecoder, spec: WeightSpec, reference: Symbols | None) -> Symbols:
    """Read one tensor.

    Raises:
        InvalidStream: a choice or a value is out of range.
    """
    residual = reference is not None and decoder.decode_bits(1) == 1
    centre, skew = decoder.decode(_CENTRE_TABLE, 1), int(decoder.decode(_SKEW_TABLE, 1)[0])
    if abs(skew) > MAX_SKEW:
        raise InvalidStream(f"{spec.name}: skew {skew} is out of range")
    level = decoder.decode_bits(level_bits(spec.rows))
    if level > max_level(spec.rows):
        raise InvalidStream(f"{spec.name}: blocks of 2^{level} rows, {spec.rows} rows present")
    shape = decoder.decode_bits(SHAPE_BITS)
    num_blocks = -(-spec.rows >> level)
    first = decoder.decode_bits(SCALE_BITS)
    scales = np.cumsum(np.append(first, _decode_deltas(decoder, num_blocks - 1)))
    if int(scales.min()) < 0 or int(scales.max()) >= NUM_SCALES:
        raise InvalidStream(f"{spec.name}: a scale is out of range")
    offsets = None
    if has_columns(spec.shape) and decoder.decode_bits(1):
        offsets = np.cumsum(_decode_deltas(decoder, spec.shape[1]))
    tables = _tables(spec, level, shape, scales, offsets)
    symbols = decoder.decode(tables, spec.size, skew=skew).reshape(spec.shape)
    symbols += centre
    if residual and reference is not None:
        symbols += reference
    if exceeds_magnitude(symbols):
        raise InvalidStream(f"{spec.name}: a symbol is out of range")
    return symbols


def _encode_deltas(encoder: SymbolEncoder, deltas: Indices, delta_scale: int) -> None:
    if len(deltas):
        encoder.encode_bits(delta_scale, SCALE_BITS)
        encoder.encode(deltas.astype(np.int32), DELTA_SHAPE * NUM_SCALES + delta_scale)


def _decode_deltas(decoder: SymbolDecoder, count: int) -> Indices:
    if not count:
        return np.empty(0, dtype=np.int64)
    table = DELTA_SHAPE * NUM_SCALES + decoder.decode_bits(SCALE_BITS)
    return decoder.decode(table, count).astype(np.int64)


def _tables(
    spec: WeightSpec, level: int, shape: int, scales: Indices, offsets: Indices | None
) -> TableIndices | int:
    """Table of every value in C order, or the one table of all."""
    tables = shape * NUM_SCALES + table_scales(spec.shape, level, scales, offsets)
    if len(scales) == 1 and offsets is None:
        return int(tables[0, 0])
    return np.repeat(tables.astype(np.uint16).ravel(), spec.size // tables.size)


def _matching(spec: WeightSpec, reference: WeightSymbols | None) -> Symbols | None:
    if reference is None or spec.name not in reference:
        return None
    symbols = reference[spec.name]
    return symbols if symbols.shape == spec.shape else None
