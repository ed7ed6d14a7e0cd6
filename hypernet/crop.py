"""Part of a frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    """A rectangle of a frame, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        """The first row below."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """The first column to the right."""
        return self.left + self.width

    def grown(self, margin: int, height: int, width: int) -> Crop:
        """With a margin on every side, as far as a frame of that size goes."""
        top, left = max(0, self.top - margin), max(0, self.left - margin)
        bottom, right = min(height, self.bottom + margin), min(width, self.right + margin)
        return Crop(top=top, left=left, height=bottom - top, width=right - left)

    def united(self, other: Crop) -> Crop:
        """The smallest rectangle that holds both."""
        top, left = min(self.top, other.top), min(self.left, other.left)
        bottom, right = max(self.bottom, other.bottom), max(self.right, other.right)
        return Crop(top=top, left=left, height=bottom - top, width=right - left)

    def within(self, other: Crop) -> Crop:
        """The same pixels, counted from the corner of a rectangle that holds them."""
        return replace(self, top=self.top - other.top, left=self.left - other.left)

    def of(self, picture: Tensor) -> Tensor:
        """These pixels of a picture ``(..., H, W)``."""
        return picture[..., self.top : self.bottom, self.left : self.right]
