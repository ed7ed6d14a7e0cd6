"""NeRV: frame index -> stem -> upsampling convolutions (arXiv 2110.13903)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from hypernet.decoders.base import Weights
from hypernet.decoders.blocks import conv_specs, upsampling_conv
from hypernet.decoders.stem import TimeStem, check_sizes
from hypernet.weights import ClipShape, WeightSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class NervConfig:
    """Sizes of a NeRV decoder; all of them are sent in the stream header.

    ``widths[0]`` is the stem's channel count, ``widths[i + 1]`` the channel count after upsampling
    by ``strides[i]``; the head upsamples by ``head_stride`` into RGB.
    """

    frequencies: int
    hidden: int
    widths: tuple[int, ...]
    strides: tuple[int, ...]
    head_kernel: int
    head_stride: int

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.strides) + 1:
            raise ValueError("widths must have one entry more than strides")
        check_sizes(
            frequencies=self.frequencies,
            widths=(*self.widths, self.hidden),
            strides=(*self.strides, self.head_stride),
        )
        if self.head_kernel not in (1, 3):
            raise ValueError("head_kernel must be 1 or 3")

    @property
    def scale(self) -> int:
        """Frame size over stem size."""
        return math.prod(self.strides) * self.head_stride


class NervDecoder:
    """One network for all frames of a clip; the clip is usually the whole segment."""

    name: ClassVar[str] = "nerv"
    wire_id: ClassVar[int] = 1
    departs_from_reference: ClassVar[bool] = False

    def __init__(self, config: NervConfig, clip: ClipShape) -> None:
        self.config = config
        self.clip = clip
        self._stem = TimeStem.of(config, config.widths[0], clip)

    def weight_specs(self) -> tuple[WeightSpec, ...]:
        """Stem, stages and head, in that order; see :class:`Decoder`."""
        c = self.config
        specs = self._stem.specs()
        for i, stride in enumerate(c.strides):
            specs += conv_specs(f"stage{i}", c.widths[i + 1] * stride**2, c.widths[i], 3)
        specs += conv_specs("head", 3 * c.head_stride**2, c.widths[-1], c.head_kernel, gain=0.1)
        return tuple(specs)

    def render(self, weights: Weights, times_N: Tensor) -> Tensor:
        """``frames_NCHW``; see :class:`Decoder`."""
        c = self.config
        x = self._stem.render(weights, times_N, self.clip.frames)
        for i, stride in enumerate(c.strides):
            weight, bias = weights[f"stage{i}.weight"], weights[f"stage{i}.bias"]
            x = F.gelu(upsampling_conv(x, weight, bias, stride))
        x = upsampling_conv(x, weights["head.weight"], weights["head.bias"], c.head_stride)
        return x[..., : self.clip.height, : self.clip.width].float() + 0.5

    def bind(self, weights: Weights) -> Callable[[Tensor], Tensor]:
        """See :class:`Decoder`."""
        return functools.partial(self.render, weights)

    def multiply_adds_per_pixel(self) -> float:
        """Counted over stem, stages and head; see :class:`Decoder`."""
        c = self.config
        cells, total = self._stem.cells, self._stem.multiply_adds()
        for i, stride in enumerate(c.strides):
            total += 9 * c.widths[i] * c.widths[i + 1] * stride**2 * cells
            cells *= stride**2
        total += c.head_kernel**2 * c.widths[-1] * 3 * c.head_stride**2 * cells
        return total / (self.clip.height * self.clip.width)

    def activation_bytes(self) -> int:
        """Set by the widest layer; see :class:`Decoder`."""
        c = self.config
        cells = self._stem.cells
        largest = c.widths[0] * cells
        for width, stride in zip(c.widths[1:], c.strides, strict=True):
            cells *= stride**2
            largest = max(largest, width * cells)
        # a layer's input, its output before and after the shuffle, and the activation's result
        return 4 * 4 * max(largest, 3 * c.head_stride**2 * cells)
