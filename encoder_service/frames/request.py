"""Which picture is wanted, in words that go through a pipe."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MIN_WIDTH, MAX_WIDTH = 16, 4096  # pixels


class PictureFormat(StrEnum):
    """How a picture is coded; the value is the suffix of its name."""

    PNG = "png"  # every pixel as decoded
    JPG = "jpg"

    @property
    def media_type(self) -> str:
        """What HTTP calls it."""
        return "image/png" if self is PictureFormat.PNG else "image/jpeg"


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureRequest:
    """One frame of a stream as a picture, upright and with square pixels.

    Attributes:
        frame: its number, from 0.
        picture_format: how it is coded.
        width: in pixels, at most; None for the frame's own. Nothing is ever scaled up.
    """

    frame: int
    picture_format: PictureFormat
    width: int | None = None
