"""The published hypernetwork: patches of a tile in, factors of its hyponet out, in one pass.

After Trans-INR, NeRV-Enc (arXiv 2409.19429) and TeCoNeRV (arXiv 2602.16711): one token per patch
of every frame, together with learned weight tokens, go through transformer blocks; a head for each
layer turns its weight tokens into factors. Token counts and widths are free for each layer.

Published models see millions of tubelets, ours some ten thousand, so training starts from a known
transform, see ``initial_transformer``; weights here are random.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from hypernet.decoders.hyponet import HyponetConfig, base_shapes
from hypernet.decoders.spectrum import CLIP_FRAMES
from hypernet.predictor.initial_hyponet import initial_hyponet
from hypernet.predictor.transformer import TransformerConfig, transformer_block

TOKEN_STD, HEAD_STD = 0.5, 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class FactorModelConfig:
    """Everything that fixes the shapes of a trained model, and how clips are drawn together.

    Attributes:
        decoder: sizes of the hyponet.
        tokens: weight tokens of each layer; they divide its factors evenly.
        patch: side of a patch in pixels.
        transformer: sizes of the transformer.
        coherence_weight: of the difference between the weights of consecutive clips.
        coherence_from: share of the training after which it counts.
    """

    decoder: HyponetConfig
    tokens: tuple[int, ...]
    patch: int = 32
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    coherence_weight: float = 0.0
    coherence_from: float = 1.0

    def __post_init__(self) -> None:
        if any(side % self.patch for side in self.decoder.tile):
            raise ValueError(f"tiles of {self.decoder.tile} pixels, patches of {self.patch}")
        layers = self.decoder.layers()
        if len(self.tokens) != len(layers):
            raise ValueError(f"tokens for {len(self.tokens)} layers of {len(layers)}")
        for layer, tokens in zip(layers, self.tokens, strict=True):
            values = layer.factor_rows * layer.fan_in
            if (tokens > 0) != (values > 0) or (tokens and values % tokens):
                raise ValueError(f"{tokens} tokens cannot carry {values} factors")

    @property
    def patches(self) -> int:
        """Patches of a frame."""
        height, width = self.decoder.tile
        return (height // self.patch) * (width // self.patch)


class FactorPredictor(nn.Module):
    """Predictor and shipped kernels, as trained together."""

    def __init__(self, config: FactorModelConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        width = config.transformer.width
        self.embedding = nn.Linear(3 * config.patch**2, width)
        self.places = nn.Parameter(TOKEN_STD * torch.randn(config.patches, width))
        self.moments = nn.Parameter(TOKEN_STD * torch.randn(CLIP_FRAMES, width))
        self.weight_tokens = nn.Parameter(TOKEN_STD * torch.randn(sum(config.tokens), width))
        self.blocks = nn.ModuleList(
            transformer_block(config.transformer) for _ in range(config.transformer.depth)
        )
        self.heads = nn.ModuleDict(
            {
                str(number): nn.Sequential(
                    nn.LayerNorm(width), nn.Linear(width, layer.factor_rows * layer.fan_in // count)
                )
                for number, (layer, count) in enumerate(
                    zip(config.decoder.layers(), config.tokens, strict=True)
                )
                if count
            }
        )
        base = initial_hyponet(config.decoder, torch.Generator().manual_seed(seed))
        self.kernels = nn.ParameterDict(
            {name.replace(".", "_"): nn.Parameter(value) for name, value in base.items()}
        )
        for head in self.heads.values():
            nn.init.normal_(head.get_submodule("1").get_parameter("weight"), std=HEAD_STD)

    def base(self) -> dict[str, Tensor]:
        """Shipped kernels under the decoder's names."""
        names = base_shapes(self.config.decoder)
        return {name: self.kernels[name.replace(".", "_")] for name in names}

    def forward(self, tiles_BTCHW: Tensor) -> dict[int, Tensor]:
        """Departures from shipped factors, ``(B, rows, fan_in)`` of each tile by layer.

        Args:
            tiles_BTCHW: 8 RGB frames of each tile, float in [0, 1].
        """
        answers = self._answers(tiles_BTCHW)
        return {
            int(number): self._factors(int(number), head(answers[int(number)]))
            for number, head in self.heads.items()
        }

    def _answers(self, tiles_BTCHW: Tensor) -> tuple[Tensor, ...]:
        """The weight tokens of each layer after the transformer, ``(B, N, width)``."""
        batch = len(tiles_BTCHW)
        data = self.embedding(_patches(tiles_BTCHW - 0.5, self.config.patch))
        data = data + self.places + self.moments[:, None]
        asked = self.weight_tokens.to(data.dtype).expand(batch, -1, -1)
        tokens = torch.cat((data.flatten(1, 2), asked), dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        asked = tokens[:, -len(self.weight_tokens) :]
        return torch.split_with_sizes(asked, self.config.tokens, dim=1)

    def _factors(self, number: int, values_BNK: Tensor) -> Tensor:
        """Tokens carry the factors of one input after the other, each for all rows."""
        layer = self.config.decoder.layers()[number]
        return values_BNK.flatten(1).view(-1, layer.fan_in, layer.factor_rows).mT.float()


def _patches(tiles_BTCHW: Tensor, side: int) -> Tensor:
    """``(B, T, patches, C * side * side)``, row by row.

    Divided by the side: a step of the many weights that read a patch would move tokens too far.
    """
    batch, times, channels, height, width = tiles_BTCHW.shape
    x = tiles_BTCHW.reshape(batch, times, channels, height // side, side, width // side, side)
    return x.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(2, 3) / side
