"""The hypernetwork: a clip in, the weights of its tubelet decoder out, in one forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypernet.bitstream.steps import step_size
from hypernet.decoders.integer_layers import round_through
from hypernet.decoders.integer_prior import STEP_GAIN, STEP_KNOTS, IntegerPrior, PriorConfig
from hypernet.decoders.spectrum import (
    CHROMA_CELL,
    CLIP_FRAMES,
    GRID_CELL,
    cosines,
    spatial_cosines,
    spectrum,
)
from hypernet.decoders.tubelet import TubeletConfig, base_shapes
from hypernet.decoders.tubelet_layers import (
    ClipWeights,
    departure_point,
    frame_fields,
    planes_of,
)
from hypernet.decoders.warp import MOTION_CELL, enlarged, inverse_field, sample
from hypernet.errors import InvalidSettings
from hypernet.predictor.initial_kernels import initial_base
from hypernet.predictor.motion import MOTION_STEPS, clip_motion, reference_gate, reference_motion
from hypernet.predictor.transformer import TransformerConfig, VideoTransformer

HEAD_GAIN = 0.03
"""Scale of what the transformer adds to the cosine transform, when training starts."""
TILES_GAIN = 0.3
"""Scale of the tile vectors then: if all were rounded to zero, they would never be used."""
DEAD_ZONE = 0.17
"""How much smaller than a step a value is made before it is rounded, when training starts."""
MOTION_STEP_INDEX = 160
GATE_STEP_INDEX = 176
TILES_STEP_INDEX = 152
DEPTH_STEPS = (-3, 0, 3)
_SMALLEST = 1e-6
_COARSE = 4
"""Pixels along each side of the squares that the way back is sought for."""
MIDDLE_STEP = 176
MIDDLE_WEIGHT = 20.0
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
class Reference:
    """What a batch of clips is coded against.

    Attributes:
        picture: ``(B, 3, H, W)`` RGB, nearest frame of the reference clip as it is decoded.
        offset: ``(B,)`` frames from the middle of the clip to it, negative if earlier.
    """

    picture: Tensor
    offset: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictedWeights:
    """Weights in units of their quantisation steps.

    Attributes:
        motion: ``(B, 6, h, w)``, integers.
        gate: ``(B, 1, rows, cols)``, 0 or 1.
        tiles: ``(B, C, h, w)``, not rounded.
        grid: ``(B, C, rows, cols)``, not rounded.
    """

    motion: Tensor
    gate: Tensor
    tiles: Tensor
    grid: Tensor

    def rounded(self) -> PredictedWeights:
        """The symbols that are sent; gradients pass."""
        return PredictedWeights(
            motion=self.motion,
            gate=self.gate,
            tiles=round_through(self.tiles),
            grid=round_through(self.grid),
        )

    def dequantized(self, step_index_B: Tensor, reference: Reference | None) -> ClipWeights:
        """Weights as the decoder gets them."""
        return ClipWeights(
            motion=self.motion * step_size(MOTION_STEP_INDEX),
            gate=self.gate,
            tiles=self.tiles * step_size(TILES_STEP_INDEX),
            grid=self.grid * step_sizes(step_index_B),
            reference=None if reference is None else reference.picture,
        )


class WeightPredictor(nn.Module):
    """Predictor, shipped kernels and prior, as trained together."""

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        width, channels = config.transformer.width, config.decoder.grid_channels
        self.groups = (config.prior.first, *config.prior.groups)
        self.transformer = VideoTransformer(config.transformer, channels + 2, STEP_KNOTS)
        self.shift_head = nn.Conv2d(width, channels, 1)
        self.gain_head = nn.Conv2d(width, len(self.groups), 1)
        self.tiles_head = nn.Conv2d(width, config.decoder.tile_channels, 1)
        self.dead_zone = nn.Parameter(torch.full((channels, 1, 1), DEAD_ZONE))
        self.prior = IntegerPrior(config.prior)
        base = initial_base(config.decoder, torch.Generator().manual_seed(seed))
        self.kernels = nn.ParameterDict(
            {name.replace(".", "_"): nn.Parameter(value) for name, value in base.items()}
        )
        if tuple(base) != tuple(base_shapes(config.decoder)):
            raise ValueError("initial kernels and decoder disagree")
        self._kernel_names = tuple(base)
        with torch.no_grad():
            self.shift_head.weight *= HEAD_GAIN
            self.gain_head.weight *= HEAD_GAIN
            self.tiles_head.weight *= TILES_GAIN

    def base(self) -> dict[str, Tensor]:
        """Shipped kernels under the decoder's names."""
        return {name: self.kernels[name.replace(".", "_")] for name in self._kernel_names}

    def forward(
        self,
        frames_BTCHW: Tensor,
        step_index_B: Tensor,
        reference: Reference | None = None,
        motion_steps: int = MOTION_STEPS,
    ) -> PredictedWeights:
        """Weights of each clip: float frames in [0, 1], height and width multiples of 16."""
        with torch.autocast(frames_BTCHW.device.type, enabled=False):
            motion, gate, spectra = self._analysed(frames_BTCHW, reference, motion_steps)
            steps = step_sizes(step_index_B)
            values = spectra / steps
        condition = self.config.prior.step_weights(step_index_B) / STEP_GAIN
        inter = torch.full_like(gate, float(reference is not None))
        tokens = torch.cat((values.sign() * torch.log1p(values.abs()), gate, inter), 1)
        cells, tiles = self.transformer(tokens, condition)
        gains = 1 + 0.5 * torch.tanh(self.gain_head(cells).float())
        counts = torch.tensor(self.groups, device=gains.device)
        size = values.abs()
        # Nothing stays nothing, even where the dead zone has vanished.
        kept = values * (size / (size + self.dead_zone.abs()).clamp(min=_SMALLEST))
        return PredictedWeights(
            motion=motion,
            gate=gate,
            tiles=self.tiles_head(tiles).float() / step_size(TILES_STEP_INDEX),
            grid=kept * gains.repeat_interleave(counts, 1) + self.shift_head(cells).float(),
        )

    @torch.no_grad()
    def _analysed(
        self, frames_BTCHW: Tensor, reference: Reference | None, motion_steps: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Motion symbols, gate, and the cosine spectrum of the departure from the reference."""
        batch, times = frames_BTCHW.shape[:2]
        luma, chroma = _each_frame(planes_of, frames_BTCHW.flatten(0, 1))
        small = F.avg_pool2d(luma, 2)
        small = small.view(batch, times, *small.shape[-2:])
        motion = _to_symbols(clip_motion(small, motion_steps))
        luma, chroma = _lined_up(luma, chroma, motion * step_size(MOTION_STEP_INDEX), times)
        rows, columns = (side // GRID_CELL for side in luma.shape[-2:])
        gate = luma.new_zeros(batch, 1, rows, columns)
        onward = torch.zeros_like(motion[:, :2])
        if reference is not None:
            onward = _onward(reference, luma, motion, motion_steps)
        motion = torch.cat((motion, onward), 1)
        if reference is not None:
            luma, chroma, gate = _departure(reference, luma, chroma, motion, gate)
        return motion, gate, _spectra(luma, chroma, self.config.decoder.grid_channels)


def _lined_up(luma: Tensor, chroma: Tensor, motion: Tensor, times: int) -> tuple[Tensor, Tensor]:
    """Planes ``(B, T, ...)`` of each frame moved to the middle of the clip."""
    batch = motion.shape[0]
    luma = torch.unflatten(luma, 0, (batch, times))
    chroma = torch.unflatten(chroma, 0, (batch, times))
    if not motion.any():
        return luma, chroma
    way_back = _way_back(motion, times, *luma.shape[-2:])
    moved_luma, moved_chroma = torch.empty_like(luma), torch.empty_like(chroma)
    # One frame after the other: fields of all frames would take most of the memory.
    for number in range(times):
        field = enlarged(way_back[:, number], _COARSE)
        moved_luma[:, number] = sample(luma[:, number], field, "bicubic")
        half_field = enlarged(way_back[:, number], _COARSE // 2)
        moved_chroma[:, number] = sample(chroma[:, number], half_field, "bicubic")
    return moved_luma, moved_chroma


def _way_back(motion_B4hw: Tensor, times: int, height: int, width: int) -> Tensor:
    """From the middle of the clip to each frame, for pictures of a quarter: ``(B, T, 2, ...)``.

    Fields are smooth: finding the way back at every pixel gains nothing.
    """
    moments = torch.arange(times, device=motion_B4hw.device)
    size = (height // _COARSE, width // _COARSE)
    fields = frame_fields(motion_B4hw, moments, *size, MOTION_CELL // _COARSE)
    return torch.unflatten(inverse_field(-fields.flatten(0, 1)), 0, fields.shape[:2])


def _each_frame(
    function: Callable[[Tensor], tuple[Tensor, Tensor]], frames_NCHW: Tensor
) -> tuple[Tensor, Tensor]:
    """A function of many frames, one after the other, which keeps what lies between small."""
    first, second = zip(*map(function, torch.split(frames_NCHW, 1)), strict=True)
    return torch.cat(first), torch.cat(second)


def _onward(reference: Reference, luma_BTCHW: Tensor, motion: Tensor, motion_steps: int) -> Tensor:
    """Symbols of the motion against the reference."""
    small = torch.unflatten(F.avg_pool2d(luma_BTCHW.flatten(0, 1), 2), 0, luma_BTCHW.shape[:2])
    small = small[:, :, 0]
    picture = F.avg_pool2d(planes_of(reference.picture)[0], 2)[:, 0]
    pixels = motion * step_size(MOTION_STEP_INDEX)
    return _to_symbols(reference_motion(picture, small, pixels, reference.offset, motion_steps))


def _departure(
    reference: Reference, luma: Tensor, chroma: Tensor, motion: Tensor, gate: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Planes less the moved reference, where the gate lets it through; and that gate."""
    empty = motion.new_zeros(motion.shape[0], 1, 1, 1)
    weights = ClipWeights(
        motion=motion * step_size(MOTION_STEP_INDEX),
        gate=gate,
        tiles=empty,
        grid=empty,
        reference=reference.picture,
    )
    start = departure_point(weights)
    if start is None:
        raise ValueError("a departure needs a reference")
    gate = reference_gate(luma.mean(1), start[0])
    through = 1 - gate
    moved_luma = start[0] * through.repeat_interleave(GRID_CELL, 2).repeat_interleave(GRID_CELL, 3)
    through = through.repeat_interleave(CHROMA_CELL, 2).repeat_interleave(CHROMA_CELL, 3)
    moved_chroma = start[1] * through
    return luma - moved_luma[:, None], chroma - moved_chroma[:, None], gate


def _spectra(luma_BTCHW: Tensor, chroma_BTCHW: Tensor, channels: int) -> Tensor:
    """Cosine spectrum of the channels that are sent: ``(B, channels, rows, cols)``."""
    patterns = spectrum(channels)
    batch, times = luma_BTCHW.shape[:2]
    luma = F.pixel_unshuffle(luma_BTCHW.flatten(0, 1), GRID_CELL)
    rows, columns = luma.shape[-2:]
    kernel = spatial_cosines(patterns.luma_frequencies, GRID_CELL).to(luma)
    luma = torch.matmul(kernel, luma.flatten(2))
    chroma = F.pixel_unshuffle(chroma_BTCHW.flatten(0, 2)[:, None], CHROMA_CELL)
    kernel = spatial_cosines(patterns.chroma_frequencies, CHROMA_CELL).to(luma)
    # A colour difference at half size has a quarter of the samples: twice the gain is orthonormal.
    chroma = 2 * torch.matmul(kernel, chroma.flatten(2)).reshape(batch * times, -1, rows * columns)
    both = torch.cat((luma, chroma), 1).view(batch, times, -1)
    waves = cosines(CLIP_FRAMES).to(luma)
    return patterns.gather(torch.matmul(waves, both).view(batch, times, -1, rows, columns))


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


def unit_price(step_index: int) -> float:
    """Bits that a squared unit of the grid is worth, at the price the predictor was trained at.

    Kernels are close to orthonormal, so a unit is an error of one step in one value.
    """
    price = float(distortion_weight(torch.tensor([step_index]))) / 3
    return price * step_size(step_index) ** 2


def step_sizes(step_index_B: Tensor) -> Tensor:
    """Quantisation steps ``(B, 1, 1, 1)`` of indices of the stream's grid."""
    sizes = [step_size(index) for index in step_index_B.tolist()]
    return torch.tensor(sizes, device=step_index_B.device)[:, None, None, None]


def _to_symbols(motion: Tensor) -> Tensor:
    return torch.floor(motion / step_size(MOTION_STEP_INDEX) + 0.5)
