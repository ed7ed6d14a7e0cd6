"""A small configuration of every decoder architecture, and weights to render with."""

from __future__ import annotations

import torch

from hypernet.decoders import ARCHITECTURES, Decoder, Weights
from hypernet.decoders.config import DecoderConfig
from hypernet.decoders.nerv import NervConfig, NervDecoder
from hypernet.weights import ClipShape

CONFIGS: dict[int, DecoderConfig] = {
    NervDecoder.wire_id: NervConfig(
        frequencies=4, hidden=6, widths=(7, 5, 3), strides=(2, 3), head_kernel=3, head_stride=2
    ),
}


def sample_decoder(wire_id: int, clip: ClipShape) -> Decoder:
    decoder: Decoder = ARCHITECTURES[wire_id][0](CONFIGS[wire_id], clip)
    return decoder


def random_weights(decoder: Decoder, seed: int = 0) -> Weights:
    generator = torch.Generator().manual_seed(seed)
    return {
        spec.name: torch.randn(spec.shape, generator=generator) * (spec.init_std or 0.1)
        for spec in decoder.weight_specs()
    }
