"""Tokens of a clip in, one feature vector per 16x16-pixel cell out.

Transformer blocks of timm run over windows of 8x8 cells together with learned weight tokens, one
per 64x64-pixel tile of the window. A depthwise convolution before each block tells cells where they
are and lets windows talk, so nothing in the network fixes the frame size and memory grows with the
area only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypernet.predictor.timm_import import Block, trunc_normal_

WINDOW_CELLS, TILE_CELLS = 8, 4
WINDOW_TILES = WINDOW_CELLS // TILE_CELLS


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformerConfig:
    """Sizes of the video transformer."""

    width: int = 224
    depth: int = 4
    heads: int = 7
    mlp_ratio: float = 2.75


class VideoTransformer(nn.Module):
    """Cells of a clip as feature vectors.

    Args:
        config: sizes.
        inputs: values per cell.
        condition_width: length of the vector that conditions the tokens (the quality).
    """

    def __init__(self, config: TransformerConfig, inputs: int, condition_width: int) -> None:
        super().__init__()
        width = config.width
        self.embedding = nn.Conv2d(inputs, width, 1)
        self.condition = nn.Linear(condition_width, width)
        self.weight_tokens = nn.Parameter(torch.zeros(WINDOW_TILES**2, width))
        self.places = nn.Parameter(torch.zeros(WINDOW_CELLS**2, width))
        trunc_normal_(self.weight_tokens, std=0.5)
        trunc_normal_(self.places, std=0.02)
        self.neighbours = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, groups=width) for _ in range(config.depth)
        )
        self.blocks = nn.ModuleList(
            transformer_block(config, fused=False) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, cells_BCHW: Tensor, condition_BK: Tensor) -> Tensor:
        """Features of cells.

        Args:
            cells_BCHW: what is known of each 16x16-pixel cell.
            condition_BK: conditioning vectors.

        Returns:
            ``(B, D, H, W)``.
        """
        cells = self.embedding(cells_BCHW)
        height, width = cells.shape[-2:]
        cells = cells + self.condition(condition_BK)[:, :, None, None]
        padding = (0, -width % WINDOW_CELLS, 0, -height % WINDOW_CELLS)
        cells = F.pad(cells, padding, mode="replicate")
        rows, columns = cells.shape[-2] // WINDOW_CELLS, cells.shape[-1] // WINDOW_CELLS
        windows = cells.shape[0] * rows * columns
        weights = self.weight_tokens.to(cells.dtype).expand(windows, -1, -1)
        for neighbours, block in zip(self.neighbours, self.blocks, strict=True):
            cells = cells + neighbours(cells)
            tokens = torch.cat((_to_windows(cells, WINDOW_CELLS) + self.places, weights), dim=1)
            tokens = block(tokens)
            cells = _from_windows(tokens[:, : WINDOW_CELLS**2], rows, columns)
            weights = tokens[:, WINDOW_CELLS**2 :]
        normed: Tensor = self.norm(cells.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)[..., :height, :width]


def transformer_block(config: TransformerConfig, *, fused: bool = True) -> Block:
    """A block of timm; on CPU the fused kernel is slower than plain products for few tokens."""
    block = Block(config.width, config.heads, mlp_ratio=config.mlp_ratio, qkv_bias=True)
    setattr(block.attn, "fused_attn", fused)  # noqa: B010 - a plain attribute to torch's types
    return block


def _to_windows(x_BCHW: Tensor, side: int) -> Tensor:
    """``(B * windows, side * side, C)``, windows row by row."""
    batch, channels, height, width = x_BCHW.shape
    x = x_BCHW.view(batch, channels, height // side, side, width // side, side)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(-1, side * side, channels)


def _from_windows(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """Inverse of ``_to_windows`` for square windows: ``(B, C, H, W)``, channels last in memory."""
    side = round(tokens.shape[1] ** 0.5)
    x = tokens.reshape(-1, rows, columns, side, side, tokens.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)
