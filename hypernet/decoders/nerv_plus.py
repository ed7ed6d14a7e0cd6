"""NeRV++: separable residual blocks around each upsampling, bilinear skip (arXiv 2402.18305).

A stage brings its input to its own width by a pointwise convolution, then runs residual block,
3x3 convolution with pixel shuffle, residual block, and adds its bilinearly enlarged input. The
paper's last stages work at full resolution; the sizes that are not the paper's leave the last
enlargement to the head, which shuffles several pixels at once, as a CPU can afford.
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

RESIDUAL_GAIN = 0.5  # blocks start close to the identity


@dataclass(frozen=True, kw_only=True, slots=True)
class NervPlusConfig:
    """Sizes of a NeRV++ decoder; all of them are sent in the stream header.

    ``widths[0]`` is the stem's channel count, ``widths[i + 1]`` that of stage ``i``, which
    upsamples by ``strides[i]``; the head upsamples by ``head_stride`` into RGB. ``kernel`` is that
    of the depthwise convolutions.
    """

    frequencies: int
    hidden: int
    widths: tuple[int, ...]
    strides: tuple[int, ...]
    kernel: int
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
        if self.head_kernel not in (1, 3) or self.kernel not in (3, 5, 7):
            raise ValueError("head_kernel must be 1 or 3, kernel 3, 5 or 7")

    @property
    def scale(self) -> int:
        """Frame size over stem size."""
        return math.prod(self.strides) * self.head_stride


class NervPlusDecoder:
    """One network for all frames of a clip; the clip is usually the whole segment."""

    name: ClassVar[str] = "nerv_plus"
    wire_id: ClassVar[int] = 2
    departs_from_reference: ClassVar[bool] = False

    def __init__(self, config: NervPlusConfig, clip: ClipShape) -> None:
        self.config = config
        self.clip = clip
        self._stem = TimeStem.of(config, config.widths[0], clip)

    def weight_specs(self) -> tuple[WeightSpec, ...]:
        """Stem, stages and head, in that order; see :class:`Decoder`."""
        c = self.config
        specs = self._stem.specs()
        for i, stride in enumerate(c.strides):
            width = c.widths[i + 1]
            specs += conv_specs(f"stage{i}.entry", width, c.widths[i], 1, gain=1.0)
            specs += _block_specs(f"stage{i}.before", width, c.kernel)
            specs += conv_specs(f"stage{i}.up", width * stride**2, width, 3)
            specs += _block_specs(f"stage{i}.after", width, c.kernel)
        specs += conv_specs("head", 3 * c.head_stride**2, c.widths[-1], c.head_kernel, gain=0.1)
        return tuple(specs)

    def render(self, weights: Weights, times_N: Tensor) -> Tensor:
        """``frames_NCHW``; see :class:`Decoder`."""
        c = self.config
        x = self._stem.render(weights, times_N, self.clip.frames)
        for i, stride in enumerate(c.strides):
            entry = F.conv2d(x, weights[f"stage{i}.entry.weight"], weights[f"stage{i}.entry.bias"])
            x = _block(entry, weights, f"stage{i}.before")
            up_weight, up_bias = weights[f"stage{i}.up.weight"], weights[f"stage{i}.up.bias"]
            x = F.gelu(upsampling_conv(x, up_weight, up_bias, stride))
            x = _block(x, weights, f"stage{i}.after")
            x = x + F.interpolate(entry, scale_factor=stride, mode="bilinear")
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
            width = c.widths[i + 1]
            block = c.kernel**2 * width + 2 * width**2
            total += (c.widths[i] * width + block + 9 * width**2 * stride**2) * cells
            cells *= stride**2
            total += block * cells
        total += c.head_kernel**2 * c.widths[-1] * 3 * c.head_stride**2 * cells
        return total / (self.clip.height * self.clip.width)

    def activation_bytes(self) -> int:
        """Set by the widest layer; see :class:`Decoder`."""
        c = self.config
        cells = self._stem.cells
        largest = c.widths[0] * cells
        for width, stride in zip(c.widths[1:], c.strides, strict=True):
            largest = max(largest, width * cells)
            cells *= stride**2
            largest = max(largest, width * cells)
        # a layer's input, its output, the block's input and the skip that waits for it
        return 4 * 5 * max(largest, 3 * c.head_stride**2 * cells)


def _block_specs(name: str, width: int, kernel: int) -> list[WeightSpec]:
    return [
        *depthwise_specs(f"{name}.spatial", width, kernel),
        *conv_specs(f"{name}.inner", width, width, 1),
        *conv_specs(f"{name}.outer", width, width, 1, gain=RESIDUAL_GAIN),
    ]


def _block(x_NCHW: Tensor, weights: Weights, name: str) -> Tensor:
    """Depthwise, pointwise, GELU, pointwise, plus the input."""
    spatial = weights[f"{name}.spatial.weight"]
    y = F.conv2d(
        x_NCHW,
        spatial,
        weights[f"{name}.spatial.bias"],
        padding=spatial.shape[-1] // 2,
        groups=x_NCHW.shape[1],
    )
    y = F.gelu(F.conv2d(y, weights[f"{name}.inner.weight"], weights[f"{name}.inner.bias"]))
    return x_NCHW + F.conv2d(y, weights[f"{name}.outer.weight"], weights[f"{name}.outer.bias"])
