"""SRNeRV: scale-wise recursive; one channel mixer shared by all scales (arXiv 2603.08227).

What the paper fixes: each scale owns a spatial mixer, one channel mixer serves all scales. The rest
is ours. A scale's spatial mixer is a depthwise convolution; the channel mixer is a pointwise
perceptron that ends in four times the channels, shuffled into twice the height and width; the
bilinearly enlarged input is added. The same weights thus serve from the stem to the head and are
sent once. Widths are the same at all scales.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from hypernet.decoders.base import Weights
from hypernet.decoders.blocks import conv_specs, depthwise_specs, upsampling_conv
from hypernet.decoders.stem import TimeStem, check_sizes
from hypernet.weights import ClipShape, WeightSpec

STRIDE = 2  # of every scale: the shared mixer makes 2 x 2 pixels of one
MAX_SCALES = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class SrNervConfig:
    """Sizes of an SRNeRV decoder; all of them are sent in the stream header.

    ``shared`` 0 gives every scale a channel mixer of its own: the same network without sharing,
    to be compared with.
    """

    frequencies: int
    hidden: int
    width: int
    mixer_width: int
    kernel: int
    scales: int
    head_stride: int
    shared: int = 1

    def __post_init__(self) -> None:
        check_sizes(
            frequencies=self.frequencies,
            widths=(self.width, self.mixer_width, self.hidden),
            strides=(self.head_stride,),
        )
        if self.kernel not in (3, 5, 7) or self.shared not in (0, 1):
            raise ValueError("kernel must be 3, 5 or 7, shared 0 or 1")
        if not 0 <= self.scales <= MAX_SCALES:
            raise ValueError(f"scales must lie in 0..{MAX_SCALES}")

    @property
    def scale(self) -> int:
        """Frame size over stem size."""
        return int(STRIDE**self.scales * self.head_stride)


class SrNervDecoder:
    """One network for all frames of a clip; the clip is usually the whole segment."""

    name: ClassVar[str] = "srnerv"
    wire_id: ClassVar[int] = 3
    departs_from_reference: ClassVar[bool] = False

    def __init__(self, config: SrNervConfig, clip: ClipShape) -> None:
        self.config = config
        self.clip = clip
        self._stem = TimeStem.of(config, config.width, clip)

    def weight_specs(self) -> tuple[WeightSpec, ...]:
        """Stem, channel mixers, spatial mixers and head, in that order; see :class:`Decoder`."""
        c = self.config
        specs = self._stem.specs()
        for name in dict.fromkeys(map(self._mixer, range(c.scales))):
            specs += conv_specs(f"{name}.inner", c.mixer_width, c.width, 1)
            specs += conv_specs(f"{name}.outer", c.width * STRIDE**2, c.mixer_width, 1)
        for i in range(c.scales):
            specs += depthwise_specs(f"spatial{i}", c.width, c.kernel)
        specs += conv_specs("head", 3 * c.head_stride**2, c.width, 3, gain=0.1)
        return tuple(specs)

    def render(self, weights: Weights, times_N: Tensor) -> Tensor:
        """``frames_NCHW``; see :class:`Decoder`."""
        x = self._stem.render(weights, times_N, self.clip.frames)
        for i in range(self.config.scales):
            y = F.conv2d(
                x,
                weights[f"spatial{i}.weight"],
                weights[f"spatial{i}.bias"],
                padding=self.config.kernel // 2,
                groups=self.config.width,
            )
            inner, outer = f"{self._mixer(i)}.inner", f"{self._mixer(i)}.outer"
            y = F.gelu(F.conv2d(y, weights[f"{inner}.weight"], weights[f"{inner}.bias"]))
            y = upsampling_conv(y, weights[f"{outer}.weight"], weights[f"{outer}.bias"], STRIDE)
            x = y + F.interpolate(x, scale_factor=STRIDE, mode="bilinear")
        x = upsampling_conv(
            x, weights["head.weight"], weights["head.bias"], self.config.head_stride
        )
        return x[..., : self.clip.height, : self.clip.width].float() + 0.5

    def bind(self, weights: Weights) -> Callable[[Tensor], Tensor]:
        """See :class:`Decoder`."""
        return functools.partial(self.render, weights)

    def multiply_adds_per_pixel(self) -> float:
        """Counted over stem, scales and head; see :class:`Decoder`."""
        c = self.config
        cells, total = self._stem.cells, self._stem.multiply_adds()
        for _ in range(c.scales):
            total += (c.kernel**2 * c.width + c.mixer_width * c.width * (1 + STRIDE**2)) * cells
            cells *= STRIDE**2
        total += 9 * c.width * 3 * c.head_stride**2 * cells
        return total / (self.clip.height * self.clip.width)

    def activation_bytes(self) -> int:
        """Set by the widest layer; see :class:`Decoder`."""
        c = self.config
        cells = self._stem.cells * int(STRIDE ** (2 * c.scales))
        widest = max(c.width, c.mixer_width / STRIDE**2, 3 * c.head_stride**2)
        # a layer's input and output, the scale's input and the skip that waits for it
        return math.ceil(4 * 5 * widest * cells)

    def _mixer(self, scale: int) -> str:
        return "mixer" if self.config.shared else f"mixer{scale}"
