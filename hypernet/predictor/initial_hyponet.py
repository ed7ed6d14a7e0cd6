"""Where training of a hyponet starts: an inverse cosine transform of blocks and of time.

The first layer upsamples one pixel to a coarse grid of places; each of its channels speaks at one
place only, as one cosine of the time. The factors of the second layer so say what is at that place:
coefficients of block cosines, one map per pattern. One channel is left over, silent ballast:
filters have a fixed norm, and without it what a factor is worth would depend on all others. The
last two layers turn maps into pixels, in pairs of units that together undo the final tanh.
Learning many times faster than from random kernels, it costs nothing afterwards: every value is
trained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernet.decoders.blocks import time_encoding
from hypernet.decoders.hyponet import HyponetConfig, base_shapes, factor_name
from hypernet.decoders.hyponet_layers import FREQUENCY_BASE
from hypernet.decoders.spectrum import CLIP_FRAMES, colour_matrix, cosines

SILENT = -6.0
"""Bias of the first layer where a channel is not at its place."""
CONSTANT = 1.0
"""Bias of the channels that do not change in time; the activation's value there:"""
CONSTANT_VALUE = float(F.gelu(torch.tensor(CONSTANT)))
WAVE = 0.15
"""Amplitude of those that do: the activation reaches no lower than -0.17."""
LEAST_INPUT = -0.75
"""Above it the activation can be inverted."""
MAX_MODES = 6
"""Higher cosines would need weights of the time encoding that are large."""
ENOUGH_FREQUENCIES = 4
LINEAR = math.sqrt(2)
"""Where maps start: the activation has no curvature there. Its value and slope:"""
LINEAR_VALUE = float(F.gelu(torch.tensor(LINEAR)))
LINEAR_SLOPE = 1.129
MAP_SIZE = 0.3
"""Size of maps relative to block cosines; small, so that they stay where it is linear."""
PAIR_START, PAIR_SLOPE, PAIR_GAIN = -0.52, 2.0, 3.8
"""Two units of opposite slope, subtracted, are the inverse of the last tanh within 0.02."""
COLOUR_GAIN = 2.5


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Transform:
    """The transform that the sizes of a hyponet allow to start from.

    Attributes:
        rows: of places in a tile.
        columns: of places in a tile.
        modes: cosines of the time, from the constant one.
        inside: values of each map along a place.
        side: pixels along a block, one value of each map.
        patterns: block cosines, one per map.
    """

    rows: int
    columns: int
    modes: int
    inside: int
    side: int
    patterns: tuple[Pattern, ...]

    @property
    def places(self) -> int:
        """Places of a tile."""
        return self.rows * self.columns

    @property
    def speaking(self) -> int:
        """Inputs of the second layer that say something: place by place, mode by mode."""
        return self.places * self.modes


def transform_of(config: HyponetConfig) -> Transform | None:
    """What to start from; None if the sizes do not allow it and all is random."""
    layers = config.layers()
    if len(layers) != 4 or config.kernels[:2] != (1, 1) or not config.factor_rows[1]:
        return None
    first, second, third, fourth = layers
    modes = min((first.outputs - 1) // math.prod(first.strides), MAX_MODES)
    units = 2 * 3 * math.prod(fourth.strides)
    square = all(layer.strides[0] == layer.strides[1] for layer in layers[1:])
    if not square or not modes or third.outputs < units or config.frequencies < ENOUGH_FREQUENCIES:
        return None
    side = third.strides[0] * fourth.strides[0]
    return Transform(
        rows=first.strides[0],
        columns=first.strides[1],
        modes=modes,
        inside=second.strides[0],
        side=side,
        patterns=tuple(lowest_patterns(second.outputs, side)),
    )


def time_waves(modes: int) -> Tensor:
    """Cosines of the time ``(modes, CLIP_FRAMES)`` with amplitude one."""
    times = torch.arange(CLIP_FRAMES) + 0.5
    return torch.cos(torch.arange(modes)[:, None] * times * (math.pi / CLIP_FRAMES))


def initial_hyponet(config: HyponetConfig, generator: torch.Generator) -> dict[str, Tensor]:
    """Kernels, biases and factors to start training from."""
    base = {name: _random(name, shape, generator) for name, shape in base_shapes(config).items()}
    if transform := transform_of(config):
        _speak_at_places(config, transform, base)
        _collect_places(transform, base)
        _paint_blocks(config, transform, base)
    return base


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if name.endswith(".factors"):
        return torch.ones(shape)
    if len(shape) == 1:
        return torch.zeros(shape)
    return torch.randn(shape, generator=generator) * math.sqrt(2 / math.prod(shape[1:]))


def _speak_at_places(config: HyponetConfig, transform: Transform, base: dict[str, Tensor]) -> None:
    """First layer: channel ``place * modes + mode`` is that cosine of the time at its place."""
    first = config.layers()[0]
    mixes, starts = _wave_inputs(config.frequencies, transform.modes)
    weight = torch.zeros(first.outputs, transform.places, first.inputs)
    bias = torch.full((first.outputs, transform.places), SILENT)
    for place in range(transform.places):
        channels = slice(place * transform.modes, (place + 1) * transform.modes)
        weight[channels, place] = mixes
        bias[channels, place] = starts
    bias[transform.speaking :] = 0.0
    base["layer0.weight"] = weight.view(-1, first.inputs, 1, 1)
    base["layer0.bias"] = bias.flatten()


def _wave_inputs(frequencies: int, modes: int) -> tuple[Tensor, Tensor]:
    """Weights of the time encoding ``(modes, inputs)`` and biases, for wave after activation."""
    times = torch.arange(CLIP_FRAMES, dtype=torch.float32) + 0.5
    encoding = time_encoding(times, CLIP_FRAMES, frequencies, FREQUENCY_BASE).double()
    with_bias = torch.cat((encoding, torch.ones(CLIP_FRAMES, 1)), 1)
    wanted = _inverse_gelu(WAVE * time_waves(modes)[1:].double())
    mixes = (torch.linalg.pinv(with_bias, rtol=1e-4) @ wanted.T).T
    constant = torch.zeros(1, mixes.shape[1], dtype=mixes.dtype)
    constant[0, -1] = CONSTANT
    mixes = torch.cat((constant, mixes)).float()
    return mixes[:, :-1], mixes[:, -1]


def _inverse_gelu(values: Tensor) -> Tensor:
    """By bisection, for values that lie above the activation's lowest."""
    low, high = torch.full_like(values, LEAST_INPUT), torch.full_like(values, 2.0)
    for _ in range(50):
        middle = (low + high) / 2
        below = F.gelu(middle) < values
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return low


def _collect_places(transform: Transform, base: dict[str, Tensor]) -> None:
    """Second layer: shipped factors take the constant of each place; departures add to the maps.

    A departure of one is worth as much energy whatever its mode, so that one step fits all. The
    ballast makes the norm of a filter that of its kernel: departures are then worth what they say.
    """
    inputs = base["layer1.weight"].shape[1]
    worth = torch.full((transform.places, transform.modes), math.sqrt(2) / WAVE)
    worth[:, 0] = 1 / CONSTANT_VALUE
    taken = torch.zeros(transform.places, transform.modes)
    taken[:, 0] = 1.0
    ballast = inputs - transform.speaking
    untaken = ((1 - taken) * worth.square()).sum() + ballast
    kernel = MAP_SIZE * torch.cat((worth.flatten(), torch.ones(ballast)))
    factors = torch.cat((taken.flatten(), (untaken / ballast).sqrt().expand(ballast)))
    base["layer1.weight"] = kernel[:, None, None].expand_as(base["layer1.weight"]).clone()
    base[factor_name(1)] = factors.expand_as(base[factor_name(1)]).clone()
    base["layer1.bias"] += LINEAR - MAP_SIZE


def _paint_blocks(config: HyponetConfig, transform: Transform, base: dict[str, Tensor]) -> None:
    """Third layer: maps to the colours of every pixel, as pairs of units; fourth: units to RGB."""
    third, fourth = config.layers()[2:]
    outer, inner = third.strides[0], fourth.strides[0]
    pixels = coloured(transform.patterns, transform.side) * transform.side
    pixels = pixels.view(-1, 3, outer, inner, outer, inner).permute(1, 3, 5, 2, 4, 0)
    colours = pixels.flatten(0, 2).flatten(1, 2)  # (3 * inner^2, outer^2, maps)
    slopes = torch.cat((colours, -colours)) * (PAIR_SLOPE / LINEAR_SLOPE / MAP_SIZE)
    units, middle = len(slopes), third.kernel // 2
    kernel = torch.unflatten(base["layer2.weight"], 0, (third.outputs, -1))
    kernel[:units] = 0
    kernel[:units, :, :, middle, middle] = slopes
    bias = torch.unflatten(base["layer2.bias"], 0, (third.outputs, -1))
    bias[:units] = PAIR_START - LINEAR_VALUE * slopes.sum(2)
    last = base["layer3.weight"].zero_()
    middle = fourth.kernel // 2
    each = torch.eye(units // 2)
    last[:, :units, middle, middle] = PAIR_GAIN * torch.cat((each, -each), 1)
