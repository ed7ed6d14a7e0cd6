"""The stream header as a list of declared fields.

Packing, unpacking, range checks and printing all follow from the declarations in
:class:`StreamHeader`, in wire order. FORMAT.md lists the same fields; a test compares the two.
"""

from __future__ import annotations

import dataclasses
import struct
from dataclasses import dataclass
from typing import Any

from hypernet.bitstream.limits import DEFAULT_LIMITS, Limits, check_limit
from hypernet.errors import InvalidStream

NO_DECODE_FILE = bytes(32)
MAX_CONFIG_FIELDS = 256

_STRUCT_CODES = {"flag": "B", "u8": "B", "u16": "H", "u32": "I", "bytes32": "32s"}
_U32_MAX = (1 << 32) - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class HeaderField:
    """Declaration of one fixed field: kind on the wire, inclusive range, granularity, meaning."""

    kind: str
    minimum: int
    maximum: int
    multiple_of: int
    meaning: str

    def check(self, name: str, value: object) -> None:
        """Refuse a value outside the declared range.

        Raises:
            InvalidStream: out of range, or bytes of the wrong length.
        """
        if isinstance(value, bytes):
            valid = self.kind == "bytes32" and len(value) == 32
        else:
            valid = (
                isinstance(value, int)
                and self.kind != "bytes32"
                and self.minimum <= value <= self.maximum
                and value % self.multiple_of == 0
            )
        if not valid:
            raise InvalidStream(f"header field {name} is {value!r}, allowed is {self.allowed}")

    @property
    def allowed(self) -> str:
        """The range in words, as FORMAT.md prints it."""
        if self.kind == "bytes32":
            return "any"
        step = f", multiple of {self.multiple_of}" if self.multiple_of > 1 else ""
        return f"{self.minimum}..{self.maximum}{step}"


def _wire(
    kind: str,
    minimum: int,
    maximum: int,
    meaning: str,
    *,
    multiple_of: int = 1,
    default: Any = dataclasses.MISSING,
) -> Any:
    declared = HeaderField(
        kind=kind, minimum=minimum, maximum=maximum, multiple_of=multiple_of, meaning=meaning
    )
    return dataclasses.field(default=default, metadata={"wire": declared})


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamHeader:
    """What holds for the whole stream.

    Attributes are declared in wire order. ``decoder_config`` is opaque here: unsigned 32-bit
    integers that the decoder named by ``decoder`` validates.
    """

    width: int = _wire("u32", 1, 8192, "width of the video in pixels, before rotation")
    height: int = _wire("u32", 1, 8192, "height of the video in pixels, before rotation")
    num_frames: int = _wire("u32", 1, 10_000_000, "number of frames")
    time_base_num: int = _wire("u32", 1, _U32_MAX, "unit of timestamps in seconds, numerator")
    time_base_den: int = _wire("u32", 1, _U32_MAX, "unit of timestamps in seconds, denominator")
    rotation: int = _wire(
        "u16",
        0,
        270,
        "clockwise degrees to turn the picture for display",
        multiple_of=90,
        default=0,
    )
    pixel_aspect_num: int = _wire(
        "u32", 1, _U32_MAX, "pixel width over height, numerator", default=1
    )
    pixel_aspect_den: int = _wire(
        "u32", 1, _U32_MAX, "pixel width over height, denominator", default=1
    )
    colour_primaries: int = _wire("u8", 0, 255, "ColourPrimaries of ITU-T H.273")
    colour_transfer: int = _wire("u8", 0, 255, "TransferCharacteristics of ITU-T H.273")
    colour_matrix: int = _wire("u8", 0, 255, "MatrixCoefficients of ITU-T H.273")
    full_range: bool = _wire("flag", 0, 1, "1 if the source used the full range of code values")
    bit_depth: int = _wire("u8", 1, 16, "bits per sample of the source")
    decoder: int = _wire("u16", 0, 65535, "wire id of the decoder architecture")
    decode_file: bytes = _wire(
        "bytes32", 0, 0, "SHA-256 of the decode file, zero if none", default=NO_DECODE_FILE
    )
    decoder_config: tuple[int, ...] = ()

    def describe(self) -> tuple[tuple[str, str, str], ...]:
        """One (name, value, meaning) per field, for people."""
        rows = [
            (name, value.hex() if isinstance(value, bytes) else str(int(value)), field.meaning)
            for name, field, value in _named_values(self)
        ]
        config = " ".join(map(str, self.decoder_config))
        return (*rows, ("decoder_config", config, "configuration fields of the decoder"))


HEADER_FIELDS: dict[str, HeaderField] = {
    field.name: field.metadata["wire"]
    for field in dataclasses.fields(StreamHeader)
    if "wire" in field.metadata
}
_FIXED = struct.Struct("<" + "".join(_STRUCT_CODES[field.kind] for field in HEADER_FIELDS.values()))
_COUNT = struct.Struct("<H")


def pack_header(header: StreamHeader) -> bytes:
    """The header payload.

    Raises:
        InvalidStream: a field is out of its declared range, or the picture is over the limits.
    """
    _check(header, DEFAULT_LIMITS)
    values = [value for _, _, value in _named_values(header)]
    config = header.decoder_config
    return _FIXED.pack(*values) + struct.pack(f"<H{len(config)}I", len(config), *config)


def unpack_header(
    payload: bytes, *, limits: Limits = DEFAULT_LIMITS, allow_more: bool = False
) -> StreamHeader:
    """Parse a header payload.

    Args:
        payload: the bytes between the preamble and the header's checksum.
        limits: bounds of the picture and of the number of frames.
        allow_more: accept bytes after the known fields (a newer minor version appended some).

    Raises:
        InvalidStream: wrong length, or a field out of range.
    """
    if len(payload) < _FIXED.size + _COUNT.size:
        raise InvalidStream(f"the header has only {len(payload)} bytes")
    (count,) = _COUNT.unpack_from(payload, _FIXED.size)
    check_limit("the number of decoder configuration fields", count, MAX_CONFIG_FIELDS)
    expected = _FIXED.size + _COUNT.size + 4 * count
    if len(payload) < expected or (len(payload) > expected and not allow_more):
        raise InvalidStream(f"the header has {len(payload)} bytes, {expected} expected")
    values: dict[str, Any] = dict(zip(HEADER_FIELDS, _FIXED.unpack_from(payload), strict=True))
    for name, field in HEADER_FIELDS.items():
        field.check(name, values[name])
        if field.kind == "flag":
            values[name] = bool(values[name])
    config = struct.unpack_from(f"<{count}I", payload, _FIXED.size + _COUNT.size)
    header = StreamHeader(**values, decoder_config=config)
    _check(header, limits)
    return header


def _named_values(header: StreamHeader) -> list[tuple[str, HeaderField, Any]]:
    return [(name, field, getattr(header, name)) for name, field in HEADER_FIELDS.items()]


def _check(header: StreamHeader, limits: Limits) -> None:
    for name, field, value in _named_values(header):
        field.check(name, value)
    check_limit("width", header.width, limits.max_width)
    check_limit("height", header.height, limits.max_height)
    check_limit("width x height", header.width * header.height, limits.max_pixels)
    check_limit("the number of frames", header.num_frames, limits.max_frames)
    check_limit("the number of configuration fields", len(header.decoder_config), MAX_CONFIG_FIELDS)
    for value in header.decoder_config:
        if not 0 <= value <= _U32_MAX:
            raise InvalidStream(
                f"decoder configuration field {value} is not an unsigned 32-bit integer"
            )
