"""What a decoder needs to be sent: named tensors, in wire order. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipShape:
    """The pixels that one set of weights renders: frames, height, width (all at least 1)."""

    frames: int
    height: int
    width: int

    @property
    def pixels(self) -> int:
        """Number of pixels over all frames of the clip."""
        return self.frames * self.height * self.width


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightSpec:
    """One tensor of a decoder's weights.

    Axis 0 is the axis along which statistics differ most (output channel, grid channel): entropy
    tables may be chosen per index of axis 0. ``init_mean`` and ``init_std`` give the normal
    distribution that a fit from scratch starts from.
    """

    name: str
    shape: tuple[int, ...]
    init_std: float
    init_mean: float = 0.0

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def rows(self) -> int:
        """Length of axis 0."""
        return self.shape[0]
