"""The hypernetwork: a clip in, the weights of its tubelet decoder out, in one forward pass."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from hypernet.bitstream.steps import step_size
from hypernet.decoders.integer_prior import STEP_GAIN, STEP_KNOTS, IntegerPrior, PriorConfig
from hypernet.decoders.tubelet import TubeletConfig, base_shapes
from hypernet.decoders.tubelet_layers import ClipWeights
from hypernet.errors import InvalidSettings
from hypernet.predictor.analysis import (
    MOTION_STEP_INDEX,
    AnalysedClip,
    Reference,
    analyse,
    departure,
)
from hypernet.predictor.cosine_kernels import cosine_kernels
from hypernet.predictor.motion import MOTION_STEPS
from hypernet.predictor.transformer import TransformerConfig, VideoTransformer

GATE_STEP_INDEX = 176
DEPTH_STEPS = (-6, 0, 4)
"""How much coarser the grid's step is, as indices, by the number of clips that a clip needs."""
_ROWS_AT_ONCE = 8
"""Rows of cells."""
MIDDLE_STEP = 176
MIDDLE_WEIGHT = 40.0
"""Weight of the squared error against one bit per pixel, at the middle step of the grid."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Everything that fixes the shapes of a trained model."""

    decoder: TubeletConfig = field(default_factory=TubeletConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)

    def __post_init__(self) -> None:
        if self.decoder.grid_channels != self.prior.grid_channels:
            raise ValueError(
                f"the decoder has {self.decoder.grid_channels} grid channels, the prior "
                f"{self.prior.grid_channels}"
            )

    def quality_step(self, quality: int, depth: int = 0) -> int:
        """Step index of a quality: 1 is the coarsest of the training, 100 the finest.

        Clips that others are coded against get a finer step, as all who need them gain by it;
        ``depth`` is the number of clips that a clip needs itself.

        Raises:
            InvalidSettings: not in 1..100.
        """
        if not 1 <= quality <= 100:
            raise InvalidSettings(f"quality {quality} is not in 1..100")
        coarsest, finest = self.prior.coarsest_step, self.prior.finest_step
        middle = coarsest - round((quality - 1) * (coarsest - finest) / 99)
        return min(max(middle + DEPTH_STEPS[min(depth, 2)], finest), coarsest)


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictedWeights:
    """Weights in units of their quantisation steps.

    Attributes:
        motion: ``(B, 6, h, w)``, integers.
        sway: ``(B, 2 * SWAYS, ...)``, integers.
        gate: ``(B, 1, rows, cols)``, 0 or 1.
        grid: ``(B, C, rows, cols)``, not rounded.
    """

    motion: Tensor
    sway: Tensor
    gate: Tensor
    grid: Tensor

    def sent(self, grid: Tensor) -> PredictedWeights:
        """With the integers that are sent for the grid; gradients pass to what is sent at all."""
        passed = torch.where(grid == 0, 0.0, self.grid - self.grid.detach())
        return replace(self, grid=grid + passed)

    def of(self, clip: int) -> PredictedWeights:
        """Those of one clip, the batch axis kept."""
        one = slice(clip, clip + 1)
        return PredictedWeights(
            motion=self.motion[one], sway=self.sway[one], gate=self.gate[one], grid=self.grid[one]
        )

    def dequantized(self, step_index_B: Tensor, reference: Reference | None) -> ClipWeights:
        """Weights as the decoder gets them."""
        return ClipWeights(
            motion=self.motion * step_size(MOTION_STEP_INDEX),
            sway=self.sway * step_size(MOTION_STEP_INDEX),
            gate=self.gate,
            grid=self.grid * step_sizes(step_index_B),
            reference=None if reference is None else reference.picture,
        )


class WeightPredictor(nn.Module):
    """Predictor, shipped kernels and prior, as trained together."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width, channels = config.transformer.width, config.decoder.grid_channels
        self.transformer = VideoTransformer(config.transformer, channels + 2, STEP_KNOTS)
        self.shift_head = nn.Conv2d(width, channels, 1)
        self.prior = IntegerPrior(config.prior)
        base = cosine_kernels(config.decoder)
        self.kernels = nn.ParameterDict(
            {name: nn.Parameter(value, requires_grad=False) for name, value in base.items()}
        )
        if tuple(base) != tuple(base_shapes(config.decoder)):
            raise ValueError("cosine kernels and decoder disagree")
        for parameter in self.shift_head.parameters():
            nn.init.zeros_(parameter)

    def base(self) -> dict[str, Tensor]:
        """Shipped kernels under the decoder's names."""
        return dict(self.kernels.items())

    def forward(
        self,
        frames_BTCHW: Tensor,
        step_index_B: Tensor,
        reference: Reference | None = None,
        motion_steps: int = MOTION_STEPS,
    ) -> PredictedWeights:
        """Weights of each clip; frames as ``analyse`` takes them."""
        clip = self.analyse(frames_BTCHW, step_index_B, motion_steps)
        return self.weights(clip, step_index_B, reference)

    def analyse(
        self, frames_BTCHW: Tensor, step_index_B: Tensor, motion_steps: int
    ) -> AnalysedClip:
        """See ``analysis.analyse``; the step is about that of the grid."""
        channels, price = self.config.decoder.grid_channels, error_price(step_index_B)
        return analyse(frames_BTCHW, motion_steps, channels, price)

    def weights(
        self, clip: AnalysedClip, step_index_B: Tensor, reference: Reference | None = None
    ) -> PredictedWeights:
        """Weights of clips that were analysed."""
        with torch.autocast(step_index_B.device.type, enabled=False):
            price = error_price(step_index_B)
            motion, gate, spectra = departure(clip, reference, price)
            values = spectra / step_sizes(step_index_B)
        condition = self.config.prior.step_weights(step_index_B) / STEP_GAIN
        cells = self.transformer(_tokens(values, gate, reference), condition)
        # A few rows after the other: what lies between would take most of the memory.
        rows = zip(*(torch.split(x, _ROWS_AT_ONCE, 2) for x in (values, cells)), strict=True)
        return PredictedWeights(
            motion=motion,
            sway=clip.sway,
            gate=gate,
            grid=torch.cat([self._corrected(*row) for row in rows], 2),
        )

    def _corrected(self, values_BCHW: Tensor, cells_BDHW: Tensor) -> Tensor:
        """Values plus what the transformer says."""
        shift: Tensor = self.shift_head(cells_BDHW).float()
        return values_BCHW + shift


@torch.no_grad()
def _tokens(values: Tensor, gate: Tensor, reference: Reference | None) -> Tensor:
    """What the transformer sees of each cell: ``(B, channels + 2, rows, cols)``."""
    inter = torch.full_like(gate, float(reference is not None))
    return torch.cat((values.abs().log1p_().copysign_(values), gate, inter), 1)


def channels_last(model: WeightPredictor) -> WeightPredictor:
    """The model with kernels laid out for the fast path, changed in place."""
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


def distortion_weight(step_index_B: Tensor) -> Tensor:
    """Bits per pixel that a squared error is worth at a grid step: inverse to its square."""
    relative = step_sizes(step_index_B).flatten() / step_size(MIDDLE_STEP)
    return MIDDLE_WEIGHT / relative.square()


def error_price(step_index_B: Tensor) -> Tensor:
    """Bits that a squared error of one pixel and colour is worth, as the predictor is trained."""
    return distortion_weight(step_index_B) / 3


def unit_price(step_index: int) -> float:
    """Bits that a squared unit of the grid is worth.

    Kernels are orthonormal, so a unit is an error of one step in one value.
    """
    return float(error_price(torch.tensor([step_index]))) * step_size(step_index) ** 2


def step_sizes(step_index_B: Tensor) -> Tensor:
    """Quantisation steps ``(B, 1, 1, 1)`` of indices of the stream's grid."""
    sizes = [step_size(index) for index in step_index_B.tolist()]
    return torch.tensor(sizes, device=step_index_B.device)[:, None, None, None]
