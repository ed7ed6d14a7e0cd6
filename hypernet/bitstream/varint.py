"""Variable-length integers of the segment head: LEB128, canonical, at most 63 bits."""

from __future__ import annotations

from hypernet.errors import InvalidStream

MAX_VARINT = (1 << 63) - 1
_MAX_BYTES = 9


def pack_varint(value: int) -> bytes:
    """Seven bits per byte, least significant first, the top bit set on all but the last byte.

    Raises:
        ValueError: negative or over 63 bits.
    """
    if not 0 <= value <= MAX_VARINT:
        raise ValueError(f"{value} does not fit a varint")
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def pack_zigzag(value: int) -> bytes:
    """A signed integer as the varint of 0, -1, 1, -2, ... numbered from 0."""
    return pack_varint(2 * value if value >= 0 else -2 * value - 1)


class HeadReader:
    """Reads a segment head field by field, never past its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def varint(self, what: str, *, maximum: int, minimum: int = 0) -> int:
        """The next unsigned integer.

        Raises:
            InvalidStream: truncated, not canonical, or out of range.
        """
        value = 0
        for number, byte in enumerate(self._data[self.position : self.position + _MAX_BYTES]):
            value |= (byte & 127) << (7 * number)
            if byte < 128:
                self.position += number + 1
                if byte == 0 and number:
                    raise InvalidStream(f"{what} is coded with more bytes than needed")
                if not minimum <= value <= maximum:
                    raise InvalidStream(f"{what} is {value}, allowed is {minimum}..{maximum}")
                return value
        raise InvalidStream(f"the segment head ends inside {what}")

    def zigzag(self, what: str) -> int:
        """The next signed integer; raises as :meth:`varint`."""
        value = self.varint(what, maximum=MAX_VARINT)
        return value >> 1 if value & 1 == 0 else -(value >> 1) - 1

    def take(self, what: str, length: int) -> bytes:
        """The next ``length`` bytes.

        Raises:
            InvalidStream: fewer are left.
        """
        end = self.position + length
        if end > len(self._data):
            raise InvalidStream(f"the segment ends inside {what}")
        data = self._data[self.position : end]
        self.position = end
        return data
