"""Where training starts: a decoder that inverts a cosine transform, beside a random network.

Learning several times faster than from random kernels alone, it costs nothing afterwards: every
value is trained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hypernet.decoders.tubelet import (
    CLIP_FRAMES,
    COLOUR_SIDE,
    COLOUR_VALUES,
    TubeletConfig,
    base_shapes,
)

COLOUR_GAIN = 0.5
"""Grid values per unit of an orthonormal pattern; keeps kernels and values of similar size."""


def initial_base(config: TubeletConfig, generator: torch.Generator) -> dict[str, Tensor]:
    """Random shipped kernels to start training from: no motion, unit gains, mid-grey."""
    small = {
        "stem.weight": 1.0,
        "gains.weight": 0.5,
        "motion.weight": 0.1,
        "trunk_out.weight": 0.5,
        "head_out.weight": 0.03,
    }
    base: dict[str, Tensor] = {}
    for name, shape in base_shapes(config).items():
        if name.endswith(".bias"):
            base[name] = torch.zeros(shape)
            continue
        std = small.get(name, 1.0) * math.sqrt(1.5 / math.prod(shape[1:]))
        base[name] = torch.randn(shape, generator=generator) * std
    # Every frame starts alike: motion and change are learned as departures from a still.
    first = torch.unflatten(base["frame_in.weight"], 0, (CLIP_FRAMES, -1))[:1]
    base["frame_in.weight"] = first.expand(CLIP_FRAMES, -1, -1, -1, -1).flatten(0, 1).clone()
    base["head_out.weight"][:, -12:] = _bilinear_kernel()
    transform = ColourTransform.for_channels(config.grid_channels)
    base["colour.weight"][:, :, 0, 0] = transform.rows.T / COLOUR_GAIN
    base["stem.weight"][:, 0] *= 0.2  # mean luma, by far the largest value
    base["colour.bias"][: COLOUR_VALUES // CLIP_FRAMES] += 0.5 * math.sqrt(CLIP_FRAMES)
    means = transform.means[: config.tile_channels]
    base["lift.weight"].mul_(0.02)
    base["lift.weight"][means, torch.arange(len(means)), 0, 0] = 1.0
    return base


@dataclass(frozen=True, kw_only=True, slots=True)
class ColourTransform:
    """Where training starts: a cosine transform of the colours of a cell over the clip.

    Cosine patterns over time, over space and over luma and two colour differences; those patterns
    that natural video needs most.

    Attributes:
        rows: orthonormal, ``(channels, COLOUR_VALUES)``, in the order of the ``colour`` kernel.
        means: numbers of the rows that are constant over the cell.
    """

    rows: Tensor
    means: Tensor

    @classmethod
    def for_channels(cls, channels: int) -> ColourTransform:
        """The ``channels`` most useful patterns."""
        colours = torch.tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, 2.0], [1.0, -1.0, 0.0]])
        colours = colours / colours.norm(dim=1, keepdim=True)
        sizes = (CLIP_FRAMES, 3, COLOUR_SIDE, COLOUR_SIDE)
        time, colour, v, u = torch.meshgrid(*map(torch.arange, sizes), indexing="ij")
        # Energy falls with frequency; colour differences hold less than luma.
        order = 1.6 * time**0.7 + v + u + 5.0 * (colour > 0)
        chosen = order.flatten().argsort(stable=True)[:channels]
        # Time is transformed apart; a colour is at 4x4 places in 2x2 phases, see ``_colour``.
        space = _cosines(COLOUR_SIDE).view(COLOUR_SIDE, 4, 2)
        still = torch.eye(CLIP_FRAMES)
        basis = torch.einsum("kt,cd,vyi,uxj->kcvutdijyx", still, colours, space, space)
        means = torch.nonzero((v + u).flatten()[chosen] == 0).flatten()
        return cls(rows=basis.reshape(-1, COLOUR_VALUES)[chosen], means=means)


def _cosines(size: int) -> Tensor:
    """Orthonormal cosine transform: frequencies by samples."""
    samples = 2 * torch.arange(size) + 1
    matrix = torch.cos(torch.outer(torch.arange(size), samples) * (math.pi / (2 * size)))
    matrix[0] *= math.sqrt(0.5)
    return matrix * math.sqrt(2 / size)


def _bilinear_kernel() -> Tensor:
    """Twofold bilinear upsampling of RGB as a 3x3 convolution from 2x2 to 4x4 pixels."""
    line = torch.zeros(4, 2, 3)  # pixel, phase of the colour, neighbour
    for pixel in range(4):
        position = pixel / 2 + 0.25  # in colours, from the last one of the cell before
        for sample in range(-1, 3):
            weight = max(0.0, 1 - abs(position - 0.5 - sample))
            line[pixel, sample % 2, sample // 2 + 1] += weight
    kernel = torch.einsum("yia,xjb->yxijab", line, line)
    return torch.einsum("oc,yxijab->oyxcijab", torch.eye(3), kernel).reshape(48, 12, 3, 3)
