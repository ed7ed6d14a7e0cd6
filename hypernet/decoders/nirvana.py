"""NIRVANA: a small network per group of frames, from patch coordinates (arXiv 2212.14593).

Sines of the place of a patch (a SIREN trunk, no time in it) give features, which are the same for
all frames of the group; each frame has a convolution of its own that reads them, and a head that
the frames share turns them into pixels. Patches are laid side by side before the convolutions, so
that none shows a border. Nothing that is sent depends on the size of the picture.

What is sent are latents: a learned linear decoder, sent with them, turns the nine latents of a 3x3
filter into its nine weights. It starts as the identity. A latent of the trunk is its weight.

A group is a clip. The first of a segment is coded on its own, every other against the one before
it, whose weights it was started from: to show a frame, a decoder reads the symbols of at most all
groups before it in the segment, and runs one network. Sizes are our choice, found by search.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernet.decoders.base import Weights
from hypernet.decoders.blocks import GELU_GAIN, HEAD_BIAS, conv_specs, upsampling_conv
from hypernet.decoders.stem import MAX_WIDTH
from hypernet.weights import ClipShape, WeightSpec

MAX_GROUP = 64
MAX_LAYERS = 8
PATCH_PHASE = 0.25  # of the first sines, in radians from one patch to the next, times two
SINE_GAIN = math.sqrt(2.0)  # keeps the variance of what goes into a sine about 1
FILTER = 9  # values of a 3x3 filter
LAYERS = ("frame", "head")  # whose filters are sent as latents


@dataclass(frozen=True, kw_only=True, slots=True)
class NirvanaConfig:
    """Sizes of a NIRVANA decoder; all of them are sent in the stream header.

    A patch has ``patch * stride`` pixels a side: ``patch`` features from the trunk, each enlarged
    ``stride`` times by the head.
    """

    group_frames: int
    patch: int
    stride: int
    hidden: int
    layers: int
    channels: int
    width: int

    def __post_init__(self) -> None:
        if not all(1 <= value <= MAX_WIDTH for value in (self.hidden, self.channels, self.width)):
            raise ValueError(f"widths must lie in 1..{MAX_WIDTH}")
        if not 1 <= self.patch <= 32 or not 1 <= self.stride <= 8:
            raise ValueError("patch must lie in 1..32, stride in 1..8")
        if not 1 <= self.group_frames <= MAX_GROUP or not 0 <= self.layers <= MAX_LAYERS:
            raise ValueError(f"a group has 1..{MAX_GROUP} frames and at most {MAX_LAYERS} layers")


class NirvanaDecoder:
    """One network for a group of frames; see the module."""

    name: ClassVar[str] = "nirvana"
    wire_id: ClassVar[int] = 8
    departs_from_reference: ClassVar[bool] = False

    def __init__(self, config: NirvanaConfig, clip: ClipShape) -> None:
        if clip.frames > config.group_frames:
            raise ValueError(f"{clip.frames} frames in a group of {config.group_frames}")
        self.config = config
        self.clip = clip
        self._rows = math.ceil(clip.height / (config.patch * config.stride))
        self._columns = math.ceil(clip.width / (config.patch * config.stride))

    def weight_specs(self) -> tuple[WeightSpec, ...]:
        """Trunk, features, the frames' codes and convolutions, head; see :class:`Decoder`."""
        c = self.config
        longer = max(self._rows, self._columns)
        specs = [
            WeightSpec(name="trunk0.weight", shape=(c.hidden, 2), init_std=PATCH_PHASE * longer),
            WeightSpec(name="trunk0.bias", shape=(c.hidden,), init_std=1.0),
        ]
        for i in range(c.layers):
            specs += _linear_specs(f"trunk{i + 1}", c.hidden, c.hidden)
        specs += _linear_specs("features", c.channels * c.patch**2, c.hidden)
        frame_std = GELU_GAIN / math.sqrt(9 * c.channels)
        specs += [
            WeightSpec(name="frame.code", shape=(c.group_frames * c.channels,), init_std=0.5),
            WeightSpec(
                name="frame.weight",
                shape=(c.group_frames * c.width, c.channels, 3, 3),
                init_std=frame_std,
            ),
            WeightSpec(name="frame.bias", shape=(c.group_frames * c.width,), init_std=0.0),
            *map(_latent_decoder_spec, LAYERS),
            *conv_specs("head", 3 * c.stride**2, c.width, 3, gain=0.1),
        ]
        return tuple(specs)

    def render(self, weights: Weights, times_N: Tensor) -> Tensor:
        """``frames_NCHW``, each by the convolution of the nearest frame; see :class:`Decoder`."""
        return self.bind(weights)(times_N)

    def bind(self, weights: Weights) -> Callable[[Tensor], Tensor]:
        """See :class:`Decoder`; latents are decoded and the trunk runs once."""
        return functools.partial(self._frames, _decoded(weights), self._features(weights))

    def multiply_adds_per_pixel(self) -> float:
        """Latents are decoded and the trunk runs once for all frames; see :class:`Decoder`."""
        c = self.config
        cells = self._rows * self._columns
        trunk = 2 * c.hidden + c.layers * c.hidden**2 + c.hidden * c.channels * c.patch**2
        convolutions = FILTER * c.width * (c.channels + 3 * c.stride**2)
        once = cells * trunk + FILTER * self._latents()
        total = once / self.clip.frames + cells * c.patch**2 * convolutions
        return total / (self.clip.height * self.clip.width)

    def activation_bytes(self) -> int:
        """Of the layer with the most values, and of the latents; see :class:`Decoder`."""
        c = self.config
        cells = self._rows * self._columns
        widest = max(c.hidden, c.patch**2 * max(c.channels, c.width, 3 * c.stride**2))
        # a layer's input and output, the features that wait, the convolution taken out for a frame
        return 4 * (4 * cells * widest + 3 * FILTER * c.width * c.channels + 3 * self._latents())

    def _latents(self) -> int:
        c = self.config
        return FILTER * c.width * (c.group_frames * c.channels + 3 * c.stride**2)

    def _features(self, weights: Weights) -> Tensor:
        """``(1, channels, rows * patch, columns * patch)``; phases need all bits of float32."""
        place_P2 = self._places(weights["trunk0.weight"].device)
        with torch.autocast(place_P2.device.type, enabled=False):
            x_PD = place_P2
            for i in range(self.config.layers + 1):
                weight, bias = weights[f"trunk{i}.weight"], weights[f"trunk{i}.bias"]
                x_PD = torch.sin(F.linear(x_PD, weight, bias))
            x_PD = F.linear(x_PD, weights["features.weight"], weights["features.bias"])
        x = x_PD.T.reshape(1, -1, self._rows, self._columns)
        return F.pixel_shuffle(x, self.config.patch)

    def _frames(self, weights: Weights, features: Tensor, times_N: Tensor) -> Tensor:
        c = self.config
        index_N = times_N.round().long().clamp(0, c.group_frames - 1)
        count, (height, width) = len(index_N), features.shape[-2:]
        code = weights["frame.code"].view(c.group_frames, c.channels, 1, 1)[index_N]
        weight = weights["frame.weight"].reshape(c.group_frames, c.width, c.channels, 3, 3)
        bias = weights["frame.bias"].view(c.group_frames, c.width)
        x = F.conv2d(  # a group of channels for each frame
            F.gelu(features + code).reshape(1, -1, height, width),
            weight[index_N].flatten(0, 1),
            bias[index_N].flatten(),
            padding=1,
            groups=count,
        )
        x = F.gelu(x).view(count, c.width, height, width)
        x = upsampling_conv(x, weights["head.weight"], weights[HEAD_BIAS], c.stride)
        return x[..., : self.clip.height, : self.clip.width].float() + 0.5

    def _places(self, device: torch.device) -> Tensor:
        """Centres of the patches, ``(P, 2)``: the longer side of the picture is from -1 to 1."""
        longer = max(self._rows, self._columns)
        rows = (torch.arange(self._rows, device=device) * 2 + 1 - self._rows) / longer
        columns = (torch.arange(self._columns, device=device) * 2 + 1 - self._columns) / longer
        return torch.cartesian_prod(rows, columns)


def _linear_specs(name: str, outputs: int, inputs: int) -> list[WeightSpec]:
    return [
        WeightSpec(
            name=f"{name}.weight", shape=(outputs, inputs), init_std=SINE_GAIN / math.sqrt(inputs)
        ),
        WeightSpec(name=f"{name}.bias", shape=(outputs,), init_std=0.0),
    ]


def _latent_decoder_spec(layer: str) -> WeightSpec:
    """What is added to the identity: row ``k`` is the filter that latent ``k`` brings."""
    return WeightSpec(name=f"{layer}.latent_decoder", shape=(FILTER, FILTER), init_std=0.0)


def _decoded(weights: Weights) -> dict[str, Tensor]:
    """Filters in place of latents."""
    return {**weights, **{f"{layer}.weight": _filters(weights, layer) for layer in LAYERS}}


def _filters(weights: Weights, layer: str) -> Tensor:
    """``(outputs, inputs, 3, 3)`` from latents of the same shape."""
    latents, change = weights[f"{layer}.weight"], weights[f"{layer}.latent_decoder"]
    flat = latents.reshape(-1, FILTER)
    return (flat + flat @ change).view(latents.shape)
