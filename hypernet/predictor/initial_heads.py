"""Where training of the heads starts: least squares from tokens to block cosines.

The transformer is random then, and what its weight tokens know of a tile is a linear mix. Pictures
to solve for are noise with the spectrum of natural ones, drifting at random.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernet.decoders.hyponet import HyponetConfig
from hypernet.decoders.hyponet_layers import TileRenderer
from hypernet.decoders.spectrum import CLIP_FRAMES, colour_matrix
from hypernet.predictor.factor_predictor import FactorPredictor
from hypernet.predictor.initial_hyponet import (
    block_side,
    coloured,
    inverts_cosines,
    lowest_patterns,
    second_layer_gain,
)

SAMPLES = 1536
"""Patches of synthetic pictures."""
MAX_DRIFT = 3.0
CONTRAST = 0.22
RIDGE = 1e-2
SHRINKAGE = 0.03
"""Keeps factors of features that say nearly the same small."""


@torch.no_grad()
def solve_heads(model: FactorPredictor, generator: torch.Generator) -> None:
    """Set the head of the second layer so that the hyponet roughly shows what the tile shows.

    The other heads start with nothing to say. A model whose sizes do not allow it is left alone.
    """
    config = model.config.decoder
    if not inverts_cosines(config) or not model.config.tokens[1]:
        return
    for head in model.heads.values():
        head.get_submodule("1").get_parameter("weight").zero_()
        head.get_submodule("1").get_parameter("bias").zero_()
    tiles = synthetic_tiles(config, SAMPLES // model.config.patches, generator)
    tokens = model.answers(tiles)[1]  # (B, N, width)
    wanted = model.tokens_of(1, wanted_departures(config, tiles, model.base()))
    head = model.heads["1"]
    known = head.get_submodule("0")(tokens).float().flatten(0, 1)
    known = torch.cat((known, torch.ones(len(known), 1)), 1)
    square = known.T @ known
    square += RIDGE * square.diagonal().mean() * torch.eye(len(square))
    solution = torch.linalg.solve(square, known.T @ wanted.flatten(0, 1))
    head.get_submodule("1").get_parameter("weight").copy_(solution[:-1].T)
    head.get_submodule("1").get_parameter("bias").copy_(solution[-1])


def synthetic_tiles(config: HyponetConfig, count: int, generator: torch.Generator) -> Tensor:
    """``(count, 8, 3, h, w)``: drifting noise whose amplitude falls with the frequency."""
    height, width = config.tile
    margin = math.ceil(MAX_DRIFT * CLIP_FRAMES)
    size = (height + 2 * margin, width + 2 * margin)
    down, right = torch.fft.fftfreq(size[0])[:, None], torch.fft.rfftfreq(size[1])
    amplitude = 1 / (down.square() + right.square() + 1 / size[0] ** 2).sqrt()
    noise = torch.fft.rfft2(torch.randn(count, 3, *size, generator=generator))
    planes = torch.fft.irfft2(noise * amplitude, s=size)
    planes = planes / planes.std() * torch.tensor([1.0, 0.2, 0.2])[:, None, None]
    pictures = 0.5 + CONTRAST * math.sqrt(3) * torch.einsum(
        "pc,bpyx->bcyx", colour_matrix(), planes
    )
    drift = (torch.rand(count, 2, generator=generator) * 2 - 1) ** 3 * MAX_DRIFT
    frames = [
        _window(pictures, drift * (time - (CLIP_FRAMES - 1) / 2), (height, width), margin)
        for time in range(CLIP_FRAMES)
    ]
    return torch.stack(frames, 1).clamp(0, 1)


def _window(pictures: Tensor, offset_B2: Tensor, size: tuple[int, int], margin: int) -> Tensor:
    shown = []
    for picture, offset in zip(pictures, offset_B2.round().int().tolist(), strict=True):
        top, left = margin + offset[0], margin + offset[1]
        shown.append(picture[:, top : top + size[0], left : left + size[1]])
    return torch.stack(shown)


def wanted_departures(
    config: HyponetConfig, tiles_BTCHW: Tensor, base: dict[str, Tensor]
) -> Tensor:
    """Departures of the second layer's factors, ``(B, rows, fan_in)``, that show the tiles."""
    first, second = config.layers()[:2]
    side = block_side(config)
    patterns = coloured(lowest_patterns(second.outputs, side), side) / side
    maps = F.conv2d(tiles_BTCHW.flatten(0, 1) - 0.5, patterns, stride=side)
    # One value per place, frame, and filter: the shuffle of the second layer undone.
    inside = second.strides[0]
    places = F.pixel_unshuffle(maps, inside).flatten(2).mT  # (B * T, places, filters)
    places = torch.unflatten(places, 0, tiles_BTCHW.shape[:2])
    features = first.outputs // places.shape[2]
    waves = _features(config, base, features)  # (T, features)
    square = waves.T @ waves
    square += SHRINKAGE * square.diagonal().mean() * torch.eye(features)
    mixed = torch.linalg.solve(square, waves.T)
    departures = torch.einsum("kt,btpf->bfpk", mixed, places).flatten(2)
    departures = F.pad(departures, (0, second.fan_in - departures.shape[2]))
    departures = departures / second_layer_gain(base)
    rows = second.factor_rows
    return torch.unflatten(departures, 1, (rows, -1)).mean(2)


def _features(config: HyponetConfig, base: dict[str, Tensor], count: int) -> Tensor:
    """Values ``(T, count)`` of the first layer's features at the place where they speak."""
    layer = config.layers()[:1]
    plain = {name: value for name, value in base.items() if name.startswith("layer0")}
    none = {0: torch.zeros_like(plain["layer0.factors"])[None]} if config.factor_rows[0] else {}
    renderer = TileRenderer(layer, plain, none)
    x = renderer.features(torch.arange(CLIP_FRAMES, dtype=torch.float32))
    return F.gelu(x[:, 0, :count, 0, 0])
