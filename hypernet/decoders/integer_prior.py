"""Learned prior of tubelet weights: which integer table codes each symbol, and around which mean.

Entropy decoding must give the same integers on every machine, so the network computes with
integers only: weights of 8 bits, activations of 7 bits, accumulators below 2**24. Such numbers and
their sums are exact in float32 in any order of summation, so ordinary convolutions compute them
exactly, on any number of threads and on a GPU. In training the rounding passes gradients straight
through; the forward pass is the same code, hence what is trained is what decodes.

Symbols of a clip are coded in stages: the tile vectors, then groups of grid channels, the first
group in two checkerboard halves. Each stage sees the symbols of earlier stages and of a reference
clip (zeros for a key clip), as the channel-conditional models of arXiv 2007.08739 do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypernet.decoders.tubelet import TILE_CELLS

ACTIVATION_BITS = 4
"""Fractional bits of an activation: the integer 16 stands for 1.0."""
ACTIVATION_LIMIT = 127
EXACT_LIMIT = 1 << 24
WEIGHT_LIMIT = 127
NUM_TABLES = 64
MEDIAN_TABLE = 38
TABLES_PER_OCTAVE = 3
STEP_KNOTS = 4
STEP_GAIN = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorConfig:
    """Sizes of the prior; part of the decode file.

    Attributes:
        grid_channels: as in the decoder's configuration.
        tile_channels: as in the decoder's configuration.
        groups: grid channels that are coded together; they add up to ``grid_channels``.
        context_width: channels shared by the stages.
        hidden_width: channels inside each stage.
        coarsest_step: largest quantisation step of the training, an index of the stream's grid.
        finest_step: the smallest.
    """

    grid_channels: int = 128
    tile_channels: int = 48
    groups: tuple[int, ...] = (16, 48, 64)
    context_width: int = 48
    hidden_width: int = 32
    coarsest_step: int = 164
    finest_step: int = 140

    def __post_init__(self) -> None:
        if not 0 <= self.finest_step < self.coarsest_step <= 255:
            raise ValueError(f"steps {self.finest_step}..{self.coarsest_step} are not in 0..255")
        if sum(self.groups) != self.grid_channels or min(self.groups) < 1:
            raise ValueError(f"groups {self.groups} do not add up to {self.grid_channels} channels")

    def step_weights(self, step_index_B: Tensor) -> Tensor:
        """Position of step indices between ``STEP_KNOTS`` knots.

        Returns:
            ``(B, STEP_KNOTS)``: integers that sum to 64, float32. Steps outside of the range of the
            training count as its ends.
        """
        span = self.coarsest_step - self.finest_step
        position = (self.coarsest_step - step_index_B.long()).clamp(0, span)
        scaled = torch.div(position * ((STEP_KNOTS - 1) * STEP_GAIN), span, rounding_mode="floor")
        knots = torch.arange(STEP_KNOTS, device=step_index_B.device) * STEP_GAIN
        return (STEP_GAIN - (scaled[:, None] - knots).abs()).clamp(min=0).float()


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """Where each symbol is expected: integer-valued float32 tensors shaped like the symbols."""

    mean: Tensor
    table: Tensor


def round_through(x: Tensor) -> Tensor:
    """Round half up; gradients pass as if nothing happened."""
    rounded = torch.floor(x + 0.5)
    return x + (rounded - x).detach() if torch.is_grad_enabled() else rounded


def table_scale(table: Tensor) -> Tensor:
    """Laplace scale whose rounded variable has the mean magnitude that defines the table."""
    magnitude = torch.exp2((table - MEDIAN_TABLE) / TABLES_PER_OCTAVE)
    return 0.5 / torch.asinh(0.5 / magnitude)


class IntegerConvolution(nn.Module):
    """Convolution of integers by integers, stored as the real numbers they stand for."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        fan_in = inputs * kernel * kernel
        # Puts one standard deviation of the initial weights near 16 of the 127 levels.
        self.shift = round(4 + (fan_in.bit_length() - 1) / 2)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel) * fan_in**-0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def integers(self) -> tuple[Tensor, Tensor]:
        """Weights (int8) and bias (int32) as they are computed with.

        Raises:
            ValueError: an accumulator could reach 2**24, beyond which float32 skips integers.
        """
        scaled = self.weight.detach() * 2.0**self.shift
        weight = torch.floor(scaled.clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT) + 0.5)
        bias = torch.floor(self.bias.detach() * 2.0 ** (self.shift + ACTIVATION_BITS) + 0.5)
        reach = weight.abs().sum((1, 2, 3)) * ACTIVATION_LIMIT + bias.abs()
        if float(reach.max()) >= EXACT_LIMIT:
            raise ValueError(f"accumulators reach {float(reach.max()):.0f}, not below 2**24")
        return weight.to(torch.int8), bias.to(torch.int32)

    def load_integers(self, weight: Tensor, bias: Tensor) -> None:
        """Take over what ``integers`` returned."""
        with torch.no_grad():
            self.weight.copy_(weight.float() * 2.0**-self.shift)
            self.bias.copy_(bias.float() * 2.0 ** -(self.shift + ACTIVATION_BITS))

    def forward(self, x: Tensor) -> Tensor:
        """Accumulators: real value times ``2 ** (shift + ACTIVATION_BITS)``."""
        scaled = (self.weight * 2.0**self.shift).clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT)
        bias = round_through(self.bias * 2.0 ** (self.shift + ACTIVATION_BITS))
        weight = round_through(scaled)
        if x.is_cuda and weight.shape[-1] > 1:
            return _convolve_by_product(x, weight, bias)
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def _convolve_by_product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolution as one matrix product.

    On CUDA a convolution may run as a Winograd transform, whose fractions are not exact.
    """
    columns = F.unfold(x, weight.shape[-1], padding=weight.shape[-1] // 2)
    product = weight.flatten(1) @ columns + bias[:, None]
    return product.view(*product.shape[:2], *x.shape[-2:])


def _requantise(accumulator: Tensor, shift: int) -> Tensor:
    """Back to activations: divide by a power of two, round, rectify, saturate."""
    return round_through(accumulator * 2.0**-shift).clamp(0, ACTIVATION_LIMIT)


class _Stage(nn.Module):
    """From known symbols and the shared context to mean and table of the next channels."""

    def __init__(self, known: int, config: PriorConfig, outputs: int) -> None:
        super().__init__()
        self.known = IntegerConvolution(known, config.hidden_width, 3) if known else None
        self.context = IntegerConvolution(config.context_width, config.hidden_width, 1)
        self.output = IntegerConvolution(config.hidden_width, 3 * outputs, 1)
        with torch.no_grad():
            self.output.weight.mul_(0.3)
            self.output.bias.copy_(torch.tensor([0.5, 0.0, 4.3]).repeat_interleave(outputs))

    def forward(self, context: Tensor, known: Tensor | None, reference: Tensor) -> Prediction:
        # Rounded before they are added, so that the sum is of small integers.
        hidden = round_through(self.context(context) * 2.0**-self.context.shift)
        if self.known is not None and known is not None:
            hidden = hidden + round_through(self.known(known) * 2.0**-self.known.shift)
        hidden = hidden.clamp(0, ACTIVATION_LIMIT)
        output = round_through(self.output(hidden) * 2.0**-self.output.shift)
        gate, mean, table = output.chunk(3, dim=1)
        copied = round_through(gate.clamp(0, 16) * reference * (1 / 16))
        return Prediction(
            mean=copied + round_through(mean * 0.25),
            table=round_through(table * 0.5).clamp(0, NUM_TABLES - 1),
        )


class IntegerPrior(nn.Module):
    """Means and table indices of a clip's symbols, stage by stage."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        first, width = config.groups[0], config.context_width
        self.tile_context = IntegerConvolution(config.tile_channels + STEP_KNOTS + 1, width, 3)
        self.tile_stage = _Stage(0, config, config.tile_channels)
        inputs = config.grid_channels + config.tile_channels + STEP_KNOTS + 1
        self.grid_context = IntegerConvolution(inputs, width, 3)
        known = [0, first, *accumulate(config.groups[:-1])]
        outputs = (first, *config.groups)
        self.stages = nn.ModuleList(
            _Stage(k, config, o) for k, o in zip(known, outputs, strict=True)
        )

    def integers(self) -> dict[str, Tensor]:
        """All weights and biases as integers, by name."""
        tensors: dict[str, Tensor] = {}
        for name, layer in self._layers().items():
            tensors[f"{name}.weight"], tensors[f"{name}.bias"] = layer.integers()
        return tensors

    def load_integers(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what ``integers`` returned."""
        for name, layer in self._layers().items():
            layer.load_integers(tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def _layers(self) -> dict[str, IntegerConvolution]:
        return {n: m for n, m in self.named_modules() if isinstance(m, IntegerConvolution)}

    def tiles(self, step: Tensor, reference: Tensor, is_inter: Tensor) -> Prediction:
        """Prediction of the tile symbols.

        Args:
            step: ``(B, STEP_KNOTS)`` from ``PriorConfig.step_weights``.
            reference: ``(B, C, h, w)`` tile symbols of the reference clip, zeros for a key clip.
            is_inter: ``(B,)``, 1 where there is a reference clip, else 0.
        """
        planes = _planes(step, is_inter, reference)
        convolve = self.tile_context
        context = _requantise(convolve(torch.cat((_enter(reference), planes), 1)), convolve.shift)
        stage: Prediction = self.tile_stage(context, None, reference)
        return stage

    def context(self, step: Tensor, tiles: Tensor, reference: Tensor, is_inter: Tensor) -> Tensor:
        """Features of the grid shared by its stages; ``tiles`` are this clip's symbols."""
        height, width = reference.shape[-2:]
        tiles = _enter(tiles).repeat_interleave(TILE_CELLS, 2).repeat_interleave(TILE_CELLS, 3)
        planes = _planes(step, is_inter, reference)
        inputs = torch.cat((_enter(reference), tiles[..., :height, :width], planes), 1)
        return _requantise(self.grid_context(inputs), self.grid_context.shift)

    def channels(self, index: int) -> slice:
        """Grid channels of a stage; the first two stages share a group."""
        group = max(index - 1, 0)
        start = sum(self.config.groups[:group])
        return slice(start, start + self.config.groups[group])

    def stage(self, index: int, context: Tensor, known: Tensor, reference: Tensor) -> Prediction:
        """Prediction of one stage over all cells.

        Args:
            index: 0 and 1 for the checkerboard halves of the first group, then the later groups.
            context: from ``context``.
            known: ``(B, C, H, W)`` grid symbols; only those of earlier stages are looked at.
            reference: grid symbols of the reference clip.
        """
        first = self.config.groups[0]
        channels = self.channels(index)
        seen: Tensor | None = None
        if index == 1:
            seen = _enter(known[:, :first]) * even_cells(known)
        elif index > 1:
            seen = _enter(known[:, : channels.start])
        prediction: Prediction = self.stages[index](context, seen, reference[:, channels])
        return prediction

    def grid(
        self, step: Tensor, tiles: Tensor, grid: Tensor, reference: Tensor, is_inter: Tensor
    ) -> Prediction:
        """Prediction of all grid symbols at once, given all of them (encoder and training)."""
        context = self.context(step, tiles, reference, is_inter)
        parts = [self.stage(index, context, grid, reference) for index in range(len(self.stages))]
        even = even_cells(grid)
        means = [torch.where(even, parts[0].mean, parts[1].mean), *(p.mean for p in parts[2:])]
        tables = [torch.where(even, parts[0].table, parts[1].table), *(p.table for p in parts[2:])]
        return Prediction(mean=torch.cat(means, 1), table=torch.cat(tables, 1))


def even_cells(grid: Tensor) -> Tensor:
    """Boolean ``(1, 1, H, W)``: the checkerboard half that is coded first."""
    rows = torch.arange(grid.shape[-2], device=grid.device)[:, None]
    columns = torch.arange(grid.shape[-1], device=grid.device)
    return ((rows + columns) % 2 == 0)[None, None]


def _planes(step: Tensor, is_inter: Tensor, like: Tensor) -> Tensor:
    values = torch.cat((step, is_inter[:, None] * STEP_GAIN), 1)
    return values[:, :, None, None].expand(-1, -1, *like.shape[-2:])


def _enter(symbols: Tensor) -> Tensor:
    """Symbols as activations: a quarter each up to 8, an eighth of that beyond."""
    size = symbols.abs()
    size = torch.minimum(4 * size, 28 + round_through(size * 0.5)).clamp(max=ACTIVATION_LIMIT)
    return torch.sign(symbols) * size
