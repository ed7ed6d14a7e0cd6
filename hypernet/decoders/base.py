"""The contract between decoders and everything that obtains, codes or renders their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol

from torch import Tensor

from hypernet.weights import ClipShape, WeightSpec

Weights = Mapping[str, Tensor]


class Decoder(Protocol):
    """A small network without parameters of its own: weights in, frames out.

    An instance is a pure description (configuration plus clip shape). It holds no weights, so any
    number of clips can be in flight, and a predictor or a fit needs no target module.
    """

    name: ClassVar[str]
    wire_id: ClassVar[int]
    departs_from_reference: ClassVar[bool]
    """Whether a clip with a reference is painted onto that clip's nearest frame: its ``weights``
    then hold that frame as ``reference``, ``(3, height, width)`` RGB in [0, 1]."""
    clip: ClipShape

    def weight_specs(self) -> tuple[WeightSpec, ...]:
        """Every tensor that must be sent, in wire order. Shared weights appear once."""
        ...

    def render(self, weights: Weights, times_N: Tensor) -> Tensor:
        """Frames at the given times.

        Args:
            weights: one float32 tensor per weight spec, by name.
            times_N: frame positions within the clip, ``0 <= t < clip.frames``, float32; positions
                between frames are allowed.

        Returns:
            ``frames_NCHW``: RGB in [0, 1], float32, cropped to the clip's true height and width.
            Each frame depends on its own time only, so one frame costs one frame.
        """
        ...

    def bind(self, weights: Weights) -> Callable[[Tensor], Tensor]:
        """The network with these weights: ``render`` for many calls, shared work done once."""
        ...

    def multiply_adds_per_pixel(self) -> float:
        """Multiply-accumulate operations per output pixel when the whole clip is rendered."""
        ...

    def activation_bytes(self) -> int:
        """Upper bound of the memory that rendering one frame takes beyond its weights, in bytes."""
        ...
