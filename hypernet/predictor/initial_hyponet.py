"""Where training of a hyponet starts: an inverse cosine transform of blocks, four layers deep.

The first layer upsamples one pixel to a coarse grid of places; each of its channels speaks at one
place only. The factors of the second layer so say what is at that place: coefficients of block
cosines, one map per pattern. Channels that are left over are silent ballast: filters have a fixed
norm, and without ballast what all places have in common would be lost to it. The last two layers
turn maps into pixels. The heads of the predictor
start from least squares on synthetic pictures. Learning many times faster than from random kernels,
it costs nothing afterwards: every value is trained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernet.decoders.hyponet import HyponetConfig, base_shapes, factor_name
from hypernet.decoders.spectrum import colour_matrix, cosines

SPEAKING, SILENT = 1.0, -4.0
"""Biases of the first layer where a channel is at its place, and elsewhere."""
BALLAST = 8.0
LINEAR = 1.0
"""Where features start, so that the activation passes both signs; its value and slope there:"""
LINEAR_VALUE = float(F.gelu(torch.tensor(LINEAR)))
LINEAR_SLOPE = 1.083
COLOUR_GAIN = 2.5
PATTERN_SIZE = 8.0
SIDE_GAIN = 0.1
"""Size of kernels that lie beside the transform when training starts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pattern:
    """A cosine pattern of one colour plane, and how much it is amplified to be of usual size."""

    plane: int
    down: int
    right: int

    @property
    def gain(self) -> float:
        """Pictures have little energy at high frequencies and in colour differences."""
        return (math.hypot(self.down, self.right) + 0.5) * (COLOUR_GAIN if self.plane else 1)


def lowest_patterns(count: int, side: int) -> list[Pattern]:
    """The patterns of a square block that hold most of a picture, best first."""
    every = [
        Pattern(plane=plane, down=down, right=right)
        for plane in range(3)
        for down in range(side)
        for right in range(side)
    ]
    return sorted(every, key=lambda pattern: pattern.gain)[:count]


def spatial(patterns: Sequence[Pattern], side: int) -> Tensor:
    """``(patterns, side, side)``, orthonormal within a plane."""
    waves = cosines(side)
    return torch.stack([torch.outer(waves[p.down], waves[p.right]) for p in patterns])


def coloured(patterns: Sequence[Pattern], side: int) -> Tensor:
    """``(patterns, 3, side, side)`` in RGB, orthonormal."""
    colours = colour_matrix()[[p.plane for p in patterns]]
    return colours[:, :, None, None] * spatial(patterns, side)[:, None]


def initial_hyponet(config: HyponetConfig, generator: torch.Generator) -> dict[str, Tensor]:
    """Kernels, biases and factors to start training from."""
    base = {name: _random(name, shape, generator) for name, shape in base_shapes(config).items()}
    if inverts_cosines(config):
        _speak_at_places(config, base)
        _paint_blocks(config, base)
    return base


def inverts_cosines(config: HyponetConfig) -> bool:
    """Whether the sizes allow to start from the transform; else all is random."""
    layers = config.layers()
    if len(layers) != 4 or layers[1].kernel != 1 or layers[0].kernel != 1:
        return False
    places = layers[0].strides[0] * layers[0].strides[1]
    square = all(layer.strides[0] == layer.strides[1] for layer in layers[1:])
    return square and layers[0].outputs >= places and layers[2].outputs >= 3


def block_side(config: HyponetConfig) -> int:
    """Pixels along a block, one value of each map of the second layer."""
    return config.strides_down[2] * config.strides_down[3]


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if name.endswith(".factors"):
        return torch.ones(shape)
    if len(shape) == 1:
        return torch.zeros(shape)
    return torch.randn(shape, generator=generator) * math.sqrt(2 / math.prod(shape[1:]))


def _speak_at_places(config: HyponetConfig, base: dict[str, Tensor]) -> None:
    """First and second layer: features of each place, and maps that take the first of them."""
    first = config.layers()[0]
    places = first.strides[0] * first.strides[1]
    features = first.outputs // places
    weight = torch.zeros(first.outputs, places, first.inputs)
    bias = torch.zeros(first.outputs, places)
    taken = torch.full((first.outputs,), BALLAST)
    for channel in range(features * places):
        place, feature = divmod(channel, features)
        bias[channel] = SILENT
        bias[channel, place] = SPEAKING
        taken[channel] = float(feature == 0)
        if feature:
            # The first feature is constant, others are cosines of the time, which come last.
            weight[channel, :, config.frequencies + (feature - 1) % config.frequencies] = 1.0
    base["layer0.weight"] = weight.view(-1, first.inputs, 1, 1)
    base["layer0.bias"] = bias.flatten()
    kernel = torch.ones_like(base["layer1.weight"])
    if factor_name(1) in base:
        base[factor_name(1)] = taken.expand_as(base[factor_name(1)]).clone()
    else:
        kernel *= taken[:, None, None] * (len(taken) / taken.square().sum()).sqrt()
    base["layer1.weight"] = kernel
    base["layer1.bias"] += LINEAR - second_layer_gain(base) * float(F.gelu(torch.tensor(SPEAKING)))


def second_layer_gain(base: dict[str, Tensor]) -> float:
    """What a departure of one is worth in a filter of the second layer."""
    kernel = base["layer1.weight"][0].detach().flatten()
    taken = kernel * base[factor_name(1)][0].detach() if factor_name(1) in base else kernel
    return float(torch.linalg.vector_norm(kernel) / torch.linalg.vector_norm(taken))


def _paint_blocks(config: HyponetConfig, base: dict[str, Tensor]) -> None:
    """Third and fourth layer: maps of block cosines to colour planes to RGB."""
    third, fourth = config.layers()[2:]
    maps, stride, side = third.inputs, third.strides[0], block_side(config)
    patterns = lowest_patterns(maps, side)
    pixels = F.avg_pool2d(spatial(patterns, side)[None], fourth.strides[0])[0] * side
    kernel = SIDE_GAIN * torch.unflatten(base["layer2.weight"], 0, (third.outputs, stride * stride))
    middle = third.kernel // 2
    kernel[:3] = 0
    for number, pattern in enumerate(patterns):
        kernel[pattern.plane, :, number, middle, middle] = pixels[number].flatten() / LINEAR_SLOPE
    base["layer2.weight"] = kernel.flatten(0, 1)
    offset = LINEAR - LINEAR_VALUE * kernel[:3].sum((2, 3, 4))
    base["layer2.bias"] = torch.cat((offset.flatten(), base["layer2.bias"][offset.numel() :]))
    last = SIDE_GAIN * torch.unflatten(base["layer3.weight"], 0, (3, -1))
    middle = fourth.kernel // 2
    last[:, :, :3] = 0
    last[:, :, :3, middle, middle] = 2 / LINEAR_SLOPE * colour_matrix().T[:, None]
    base["layer3.weight"] = last.flatten(0, 1)
    base["layer3.bias"] = -LINEAR_VALUE * last[:, :, :3].sum((2, 3, 4)).flatten()
