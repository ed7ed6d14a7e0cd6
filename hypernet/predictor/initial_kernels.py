"""Where training starts: a decoder that inverts a cosine transform, beside a random network.

Learning several times faster than from random kernels alone, it costs nothing afterwards: every
value is trained.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hypernet.decoders.tubelet import CLIP_FRAMES, COLOUR_VALUES, TubeletConfig, base_shapes


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
    base["head_out.weight"][:, -3:] = _bilinear_kernel()
    base["colour.weight"][:, :, 0, 0] = colour_transform(config.grid_channels).T
    base["stem.weight"][:, 0] *= 0.2  # mean luma, by far the largest value
    base["colour.bias"][: 3 * 16] += 0.5 * math.sqrt(CLIP_FRAMES)
    return base


def colour_transform(channels: int) -> Tensor:
    """Where training starts: a cosine transform of the colours of a cell over the clip.

    Cosine patterns over time, over 4x4 averages in space and over luma and two colour differences;
    the ``channels`` patterns that natural video needs most.

    Returns:
        Orthonormal rows, ``(channels, COLOUR_VALUES)``.
    """
    space = _cosines(4)
    colours = torch.tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, 2.0], [1.0, -1.0, 0.0]])
    colours = colours / colours.norm(dim=1, keepdim=True)
    time, colour, v, u = torch.meshgrid(
        *(torch.arange(n) for n in (CLIP_FRAMES, 3, 4, 4)), indexing="ij"
    )
    # Energy falls with frequency; colour differences hold less than luma.
    order = time**0.7 + v + u + 5.0 * (colour > 0)
    chosen = order.flatten().argsort(stable=True)[:channels]
    still = torch.eye(CLIP_FRAMES)  # time is transformed apart, in ``temporal_cosines``
    basis = torch.einsum("kt,cd,vy,ux->kcvutdyx", still, colours, space, space)
    return basis.reshape(-1, COLOUR_VALUES)[chosen]


def _cosines(size: int) -> Tensor:
    """Orthonormal cosine transform: frequencies by samples."""
    samples = 2 * torch.arange(size) + 1
    matrix = torch.cos(torch.outer(torch.arange(size), samples) * (math.pi / (2 * size)))
    matrix[0] *= math.sqrt(0.5)
    return matrix * math.sqrt(2 / size)


def _bilinear_kernel() -> Tensor:
    """Fourfold bilinear upsampling of RGB as a 3x3 convolution before a pixel shuffle."""
    offset = (torch.arange(4) + 0.5) / 4 - 0.5
    line = torch.stack(((-offset).clamp(min=0), 1 - offset.abs(), offset.clamp(min=0)), dim=1)
    kernel = torch.einsum("yi,xj->yxij", line, line).flatten(0, 1)
    return torch.einsum("oc,pij->opcij", torch.eye(3), kernel).flatten(0, 1)
