"""The smallest model that has every part, and clips to predict from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernet.decoders.integer_prior import PriorConfig
from hypernet.decoders.tubelet import TubeletConfig
from hypernet.predictor.transformer import TransformerConfig
from hypernet.predictor.weight_predictor import ModelConfig, WeightPredictor

SMALL = ModelConfig(
    decoder=TubeletConfig(grid_channels=64),
    prior=PriorConfig(first=8, middle=(8, 8), last=(20, 20), context_width=8, hidden_width=8),
    transformer=TransformerConfig(width=32, depth=2, heads=2, mlp_ratio=2.0),
)


def small_model(seed: int = 0) -> WeightPredictor:
    torch.manual_seed(seed)
    return WeightPredictor(SMALL)


def random_symbols(shape: tuple[int, ...], seed: int, spread: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) * spread).round()


def drifting(frames: int, height: int, width: int, speed: float = 2.0) -> Tensor:
    """A texture that moves right by ``speed`` pixels per frame: ``(T, 3, H, W)`` in [0, 1]."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pictures = [
        torch.stack(
            [0.5 + 0.2 * torch.sin((x - speed * t) / (5 + c)) * torch.cos(y / 7) for c in range(3)]
        )
        for t in range(frames)
    ]
    return torch.stack(pictures)


SHAKE = [(2, -1), (-1, 2), (1, 1), (-2, -2), (2, 1), (-1, -1), (0, 2), (1, -2)]
"""Pixels to the right and down for each frame of a clip: no smooth path."""


def shaking(shifts: Sequence[tuple[int, int]], height: int, width: int) -> Tensor:
    """A texture without repetition, coarse and fine, as a shaking camera shows it, as above."""
    generator = torch.Generator().manual_seed(1)
    size = (height + 32, width + 32)
    layers = [
        F.interpolate(
            torch.rand(1, 3, size[0] // cell, size[1] // cell, generator=generator),
            size=size,
            mode="bicubic",
        )
        for cell in (32, 16, 8)
    ]
    picture = torch.stack(layers).mean(0)[0].clamp(0, 1)
    return torch.stack(
        [picture[:, 16 - y : 16 - y + height, 16 - x : 16 - x + width] for x, y in shifts]
    )
