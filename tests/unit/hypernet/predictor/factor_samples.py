"""The smallest factor model that has every part, and a pair of files made from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from hypernet.decoders.decode_file import decode_file_name, load_decode_file, pack_decode_file
from hypernet.decoders.hyponet import HyponetConfig
from hypernet.predictor.factor_predictor import FactorModelConfig, FactorPredictor
from hypernet.predictor.initial_transformer import start_from_transform
from hypernet.predictor.tile_predictor import pack_tile_predictor
from hypernet.predictor.transformer import TransformerConfig

HYPONET = HyponetConfig(
    whole_frame=0,
    frequencies=4,
    widths=(33, 3, 24, 3),
    strides_down=(4, 2, 2, 2),
    strides_right=(4, 2, 2, 2),
    kernels=(1, 1, 3, 3),
    factor_rows=(3, 12, 4, 0),
)
SMALL = FactorModelConfig(
    decoder=HYPONET,
    tokens=(1, 33, 2, 0),
    patch=8,
    transformer=TransformerConfig(width=64, depth=2, heads=2, mlp_ratio=1.0),
)
WHOLE = replace(SMALL, decoder=replace(HYPONET, whole_frame=1))
MIDDLE_STEPS = {0: 150, 1: 150, 2: 150}


def small_factor_model(config: FactorModelConfig = SMALL, seed: int = 0) -> FactorPredictor:
    torch.manual_seed(seed)
    model = FactorPredictor(config, seed)
    start_from_transform(model)
    return model


def write_pair(folder: Path, config: FactorModelConfig = SMALL) -> tuple[Path, Path]:
    """A predictor file and its decode file."""
    model = small_factor_model(config)
    data = pack_decode_file(config.decoder, model.base(), None)
    decode_path = folder / decode_file_name(data)
    decode_path.write_bytes(data)
    path = folder / "small.predictor.safetensors"
    sha256 = load_decode_file(decode_path).sha256
    path.write_bytes(pack_tile_predictor(model, sha256, MIDDLE_STEPS))
    return path, decode_path
