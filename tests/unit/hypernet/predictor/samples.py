"""The smallest model that has every part, and clips to predict from."""

from __future__ import annotations

import torch
from torch import Tensor

from hypernet.decoders.integer_prior import PriorConfig
from hypernet.decoders.tubelet import TubeletConfig
from hypernet.predictor.transformer import TransformerConfig
from hypernet.predictor.weight_predictor import ModelConfig, WeightPredictor

SMALL = ModelConfig(
    decoder=TubeletConfig(
        grid_channels=24,
        tile_channels=8,
        trunk_width=8,
        canvas_width=2,
        frame_width=8,
        detail_width=4,
        head_width=8,
    ),
    prior=PriorConfig(
        grid_channels=24, tile_channels=8, groups=(8, 16), context_width=8, hidden_width=8
    ),
    transformer=TransformerConfig(
        quarter_width=8,
        quarter_blocks=1,
        eighth_width=16,
        eighth_blocks=1,
        width=32,
        depth=2,
        heads=2,
        mlp_ratio=2.0,
    ),
)


def small_model(seed: int = 0) -> WeightPredictor:
    torch.manual_seed(seed)
    return WeightPredictor(SMALL, seed)


def random_symbols(shape: tuple[int, ...], seed: int, spread: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) * spread).round()
