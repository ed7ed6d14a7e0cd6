"""The hypernetwork: a clip in, the weights of its tubelet decoder out, in one forward pass."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypernet.bitstream.steps import step_size
from hypernet.decoders.integer_prior import (
    STEP_GAIN,
    STEP_KNOTS,
    IntegerPrior,
    PriorConfig,
    round_through,
)
from hypernet.decoders.tubelet import (
    CLIP_FRAMES,
    COLOUR_SIDE,
    COLOUR_VALUES,
    GRID_CELL,
    TILE_CELLS,
    TubeletConfig,
    lift_tiles,
    temporal_cosines,
)
from hypernet.errors import InvalidSettings
from hypernet.predictor.initial_kernels import COLOUR_GAIN, ColourTransform, initial_base
from hypernet.predictor.transformer import TransformerConfig, VideoTransformer

HEAD_GAIN = 0.06
"""Scale of what the transformer adds to the cosine transform, when training starts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Everything that fixes the shapes of a trained model."""

    decoder: TubeletConfig = field(default_factory=TubeletConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)

    def __post_init__(self) -> None:
        channels = (self.decoder.grid_channels, self.decoder.tile_channels)
        if channels != (self.prior.grid_channels, self.prior.tile_channels):
            raise ValueError(f"decoder and prior disagree on grid and tile channels {channels}")

    def quality_step(self, quality: int) -> int:
        """Step index of a quality: 1 is the coarsest of the training, 100 the finest.

        Raises:
            InvalidSettings: not in 1..100.
        """
        if not 1 <= quality <= 100:
            raise InvalidSettings(f"quality {quality} is not in 1..100")
        coarsest, finest = self.prior.coarsest_step, self.prior.finest_step
        return coarsest - round((quality - 1) * (coarsest - finest) / 99)


class WeightPredictor(nn.Module):
    """Predictor, shipped kernels and prior, as trained together."""

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        width = config.transformer.width
        self.transformer = VideoTransformer(config.transformer, STEP_KNOTS)
        self.grid_head = nn.Linear(width, config.decoder.grid_channels)
        self.tiles_head = nn.Linear(width, config.decoder.tile_channels)
        self.colour = nn.Conv2d(COLOUR_VALUES, config.decoder.grid_channels, 1, bias=False)
        self.tile_means = nn.Conv2d(
            config.decoder.grid_channels, config.decoder.tile_channels, 1, bias=False
        )
        self.prior = IntegerPrior(config.prior)
        base = initial_base(config.decoder, torch.Generator().manual_seed(seed))
        self.kernels = nn.ParameterDict(
            {name.replace(".", "_"): nn.Parameter(value) for name, value in base.items()}
        )
        self._kernel_names = tuple(base)
        with torch.no_grad():
            self.grid_head.weight *= HEAD_GAIN
            self.tiles_head.weight *= HEAD_GAIN
            # Starts as a cosine transform, which the decoder starts by inverting.
            transform = ColourTransform.for_channels(config.decoder.grid_channels)
            self.colour.weight[:, :, 0, 0] = transform.rows * COLOUR_GAIN
            means = transform.means[: config.decoder.tile_channels]
            self.tile_means.weight.zero_()[torch.arange(len(means)), means] = 1.0

    def base(self) -> dict[str, Tensor]:
        """Shipped kernels under the decoder's names."""
        return {name: self.kernels[name.replace(".", "_")] for name in self._kernel_names}

    def forward(self, frames_BTCHW: Tensor, step_index_B: Tensor) -> tuple[Tensor, Tensor]:
        """Weights in units of the quantisation step, not rounded: tiles and grid, float32."""
        condition = self.config.prior.step_weights(step_index_B) / STEP_GAIN
        cell_features, tile_features = self.transformer(frames_BTCHW, condition)
        colours = self.colour(_cell_colours(frames_BTCHW)).float()
        tiles = _head(self.tiles_head, tile_features).float()
        tiles = tiles + self.tile_means(_tile_averages(colours)).float()
        grid = colours + _head(self.grid_head, cell_features).float()
        steps = step_sizes(step_index_B)
        sent = round_through(tiles / steps) * steps
        departure = grid - lift_tiles(self.base(), sent, *grid.shape[-2:])
        return tiles / steps, departure / steps


def channels_last(model: WeightPredictor) -> WeightPredictor:
    """The model with kernels laid out for the fast path, changed in place."""
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


def step_sizes(step_index_B: Tensor) -> Tensor:
    """Quantisation steps ``(B, 1, 1, 1)`` of indices of the stream's grid."""
    sizes = [step_size(index) for index in step_index_B.tolist()]
    return torch.tensor(sizes, device=step_index_B.device)[:, None, None, None]


def _cell_colours(frames_BTCHW: Tensor) -> Tensor:
    """Temporal spectrum of 2x2 colour averages: ``(B, COLOUR_VALUES, H/16, W/16)``."""
    averages = F.avg_pool2d((frames_BTCHW - 0.5).flatten(1, 2), GRID_CELL // COLOUR_SIDE)
    averages = averages.view(-1, CLIP_FRAMES, 3, *averages.shape[-2:])
    waves = temporal_cosines(torch.arange(CLIP_FRAMES, device=frames_BTCHW.device))
    spectrum = torch.einsum("tk,btchw->bkchw", waves, averages).flatten(1, 2)
    return F.pixel_unshuffle(F.pixel_unshuffle(spectrum, 2), 4)


def _tile_averages(grid_BCHW: Tensor) -> Tensor:
    """Means over the cells of each tile; cells beyond the frame repeat the border."""
    height, width = grid_BCHW.shape[-2:]
    padding = (0, -width % TILE_CELLS, 0, -height % TILE_CELLS)
    return F.avg_pool2d(F.pad(grid_BCHW, padding, mode="replicate"), TILE_CELLS)


def _head(head: nn.Linear, x_BCHW: Tensor) -> Tensor:
    return F.conv2d(x_BCHW, head.weight[..., None, None], head.bias)
