"""Learned prior of tubelet grids: which integer table codes each symbol.

Entropy decoding must give the same integers on every machine, so the network computes with
integers only: weights of 8 bits, activations of 7 bits, accumulators below 2**24. Such numbers and
their sums are exact in float32 in any order of summation, so ordinary convolutions compute them
exactly, on any number of threads and on a GPU. In training the rounding passes gradients straight
through; the forward pass is the same code, hence what is trained is what decodes.

Most symbols are zero, so channels come in groups, and a flag per cell and group says whether the
group holds anything at all; what is not flagged costs nothing. Symbols of a clip are coded in
stages: the first group in two checkerboard halves, the flags in two halves, then the flagged
symbols of the middle and of the last groups. Each stage sees what earlier stages and a reference
clip hold, as the channel-conditional models of arXiv 2007.08739 do; the last sees each channel of
the middle groups, as a group mixes patterns of all directions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypernet.decoders.integer_layers import (
    ACTIVATION_LIMIT,
    IntegerConvolution,
    requantise,
    round_through,
)
from hypernet.decoders.spectrum import spectrum, used_channels

NUM_TABLES = 64
MEDIAN_TABLE = 38
TABLES_PER_OCTAVE = 3
NUM_LEVELS = 64
"""Probabilities that a flag can be coded with."""
MEDIAN_LEVEL = 32
LEVELS_PER_NAT = 6
STEP_KNOTS = 4
STEP_GAIN = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorConfig:
    """Sizes of the prior; part of the decode file.

    Attributes:
        first: grid channels of the first group, coded in every cell.
        middle: sizes of the groups that follow.
        last: sizes of the last groups.
        context_width: channels that describe the reference clip.
        hidden_width: channels inside each stage.
        coarsest_step: largest quantisation step of the training, an index of the stream's grid.
        finest_step: the smallest.
    """

    first: int = 16
    middle: tuple[int, ...] = (16,) * 8
    last: tuple[int, ...] = (32,) * 44
    context_width: int = 32
    hidden_width: int = 48
    coarsest_step: int = 188
    finest_step: int = 156

    def __post_init__(self) -> None:
        if not 0 <= self.finest_step < self.coarsest_step <= 255:
            raise ValueError(f"steps {self.finest_step}..{self.coarsest_step} are not in 0..255")
        if not self.middle or not self.last or min(self.first, *self.groups) < 1:
            raise ValueError(f"groups {self.first}, {self.groups} hold an empty one")

    @property
    def groups(self) -> tuple[int, ...]:
        """Sizes of the groups that have a flag."""
        return self.middle + self.last

    @property
    def grid_channels(self) -> int:
        """Channels of the grid."""
        return self.first + sum(self.groups)

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


def table_scale(table: Tensor) -> Tensor:
    """Laplace scale whose rounded variable has the mean magnitude that defines the table."""
    magnitude = torch.exp2((table - MEDIAN_TABLE) / TABLES_PER_OCTAVE)
    return 0.5 / torch.asinh(0.5 / magnitude)


def level_logit(level: Tensor) -> Tensor:
    """Log odds of a flag coded at a level."""
    return (level - MEDIAN_LEVEL) / LEVELS_PER_NAT


class Stage(nn.Module):
    """From known activities and the context to tables or levels of what is coded next.

    Args:
        known: channels that are known of a cell and its neighbours.
        config: sizes of the prior.
        outputs: tables or levels.
        start: the first of them, when training starts.
        inside: channels that are looked at inside a cell only, where they are too many.
    """

    def __init__(
        self, known: int, config: PriorConfig, outputs: int, start: float, *, inside: int = 0
    ) -> None:
        super().__init__()
        width = config.hidden_width
        self.known = IntegerConvolution(known, width, 3) if known else None
        self.inside = IntegerConvolution(inside, width, 1) if inside else None
        self.context = IntegerConvolution(config.context_width, width, 1)
        self.hidden = IntegerConvolution(width, width, 1)
        self.output = IntegerConvolution(width, outputs, 1)
        with torch.no_grad():
            self.output.weight.mul_(0.3)
            self.output.bias.fill_(start)

    def forward(
        self, context: Tensor, known: Tensor | None, inside: Tensor | None = None
    ) -> Tensor:
        """Tables or levels of all outputs."""
        return self._indices(self.output(self.features(context, known, inside)))

    def at(self, features: Tensor, flags: Tensor, groups: tuple[int, ...]) -> Tensor:
        """Tables of flagged groups only, which are few: one group after the other, ``(N,)``."""
        weight, bias = (part.to(features.device) for part in self.output.rounded())
        cells = features[0].flatten(1)
        parts = [
            torch.addmm(bias_N[:, None], weight_NC, cells[:, flag]).flatten()
            for weight_NC, bias_N, flag in zip(
                torch.split_with_sizes(weight.flatten(1), groups),
                torch.split_with_sizes(bias, groups),
                flags[0].flatten(1).bool(),
                strict=True,
            )
            if flag.any()
        ]
        return self._indices(torch.cat(parts)) if parts else cells.new_zeros(0)

    def features(
        self, context: Tensor, known: Tensor | None, inside: Tensor | None = None
    ) -> Tensor:
        """What the outputs of a cell are made of."""
        # Rounded before they are added, so that the sum is of small integers.
        hidden = round_through(self.context(context) * 2.0**-self.context.shift)
        for layer, seen in ((self.known, known), (self.inside, inside)):
            if layer is not None and seen is not None:
                hidden = hidden + round_through(layer(seen) * 2.0**-layer.shift)
        hidden = hidden.clamp(0, ACTIVATION_LIMIT)
        return requantise(self.hidden(hidden), self.hidden.shift)

    def _indices(self, accumulators: Tensor) -> Tensor:
        # Half of an activation's unit per table: tables are as fine as activations allow.
        output = round_through(accumulators * 2.0 ** -(self.output.shift + 1))
        return output.clamp(0, NUM_TABLES - 1)


class IntegerPrior(nn.Module):
    """Table and level indices of a clip's grid, stage by stage."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        first, flags = config.first, len(config.groups)
        self.reference = IntegerConvolution(1 + flags + STEP_KNOTS + 2, config.context_width, 3)
        self.first_even = Stage(0, config, first, 4.5)
        self.first_odd = Stage(first, config, first, 4.5)
        self.flags_even = Stage(first, config, flags, 3.0)
        self.flags_odd = Stage(first + flags, config, flags, 3.0)
        self.middle = Stage(first + flags, config, sum(config.middle), 3.6)
        known, inside = first + flags + len(config.middle), sum(config.middle)
        self.last = Stage(known, config, sum(config.last), 3.4, inside=inside)

    def freeze(self) -> None:
        """For use without training: round all weights once."""
        for layer in self._layers().values():
            layer.freeze()

    def frozen(self) -> tuple[Tensor, ...] | None:
        """Rounded weights and biases of all layers, None if any is not frozen."""
        parts = [layer.frozen for layer in self._layers().values()]
        return None if None in parts else tuple(tensor for part in parts if part for tensor in part)

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

    def context(self, step: Tensor, gate: Tensor, reference: Tensor, is_inter: Tensor) -> Tensor:
        """Features of each cell that do not depend on the grid to be coded.

        Args:
            step: ``(B, STEP_KNOTS)`` from ``PriorConfig.step_weights``.
            gate: ``(B, 1, H, W)``, 1 where the reference is not used.
            reference: ``(B, C, H, W)`` grid symbols of the reference clip, zeros for a key clip;
                integers or float.
            is_inter: ``(B,)``, 1 where there is a reference clip, else 0.
        """
        config, (height, width) = self.config, gate.shape[-2:]
        planes = torch.cat((step, is_inter[:, None] * STEP_GAIN), 1)[:, :, None, None]
        inputs = torch.cat(
            (
                _activity(reference, (config.first, *config.groups)),
                planes.expand(-1, -1, height, width),
                gate * STEP_GAIN,
            ),
            1,
        )
        return requantise(self.reference(inputs), self.reference.shift)

    def first_tables(self, context: Tensor, symbols: Tensor) -> Tensor:
        """Tables of the first group; odd cells are told from the ``symbols`` of even ones."""
        even, odd = self.first_even_tables(context), self.first_odd_tables(context, symbols)
        return torch.where(even_cells(symbols), even, odd)

    def first_even_tables(self, context: Tensor) -> Tensor:
        """Of even cells only."""
        tables: Tensor = self.first_even(context, None)
        return tables

    def first_odd_tables(self, context: Tensor, symbols: Tensor) -> Tensor:
        """Of odd cells only, from the ``symbols`` of even ones."""
        tables: Tensor = self.first_odd(context, _enter(symbols) * even_cells(symbols))
        return tables

    def flag_levels(self, context: Tensor, symbols: Tensor, flags: Tensor) -> Tensor:
        """Levels of the flags, from the first group; odd cells see the ``flags`` of even ones."""
        even = self.flag_even_levels(context, symbols)
        odd = self.flag_odd_levels(context, symbols, flags)
        return torch.where(even_cells(flags), even, odd)

    def flag_even_levels(self, context: Tensor, symbols: Tensor) -> Tensor:
        """Of even cells only, from the first group."""
        levels: Tensor = self.flags_even(context, _enter(symbols))
        return levels

    def flag_odd_levels(self, context: Tensor, symbols: Tensor, flags: Tensor) -> Tensor:
        """Of odd cells only, from the first group and the ``flags`` of even ones."""
        seen = torch.cat((_enter(symbols), flags * even_cells(flags) * STEP_GAIN), 1)
        levels: Tensor = self.flags_odd(context, seen)
        return levels

    def middle_tables(self, context: Tensor, symbols: Tensor, flags: Tensor) -> Tensor:
        """Tables of the middle groups, from the first group and all flags."""
        tables: Tensor = self.middle(context, _before_middle(symbols, flags))
        return tables

    def flagged_middle_tables(self, context: Tensor, symbols: Tensor, flags: Tensor) -> Tensor:
        """The same for the flagged groups of one clip alone: ``(N,)``, groups then channels."""
        features = self.middle.features(context, _before_middle(symbols, flags))
        count = len(self.config.middle)
        tables: Tensor = self.middle.at(features, flags[:, :count], self.config.middle)
        return tables

    def last_tables(
        self, context: Tensor, symbols: Tensor, flags: Tensor, middle: Tensor
    ) -> Tensor:
        """Tables of the last groups, from all before and the symbols of the middle groups."""
        known = self._before_last(symbols, flags, middle)
        tables: Tensor = self.last(context, known, _enter(middle))
        return tables

    def flagged_last_tables(
        self, context: Tensor, symbols: Tensor, flags: Tensor, middle: Tensor
    ) -> Tensor:
        """The same for the flagged groups of one clip alone: ``(N,)``, groups then channels."""
        known = self._before_last(symbols, flags, middle)
        features = self.last.features(context, known, _enter(middle))
        count = len(self.config.middle)
        tables: Tensor = self.last.at(features, flags[:, count:], self.config.last)
        return tables

    def _before_last(self, symbols: Tensor, flags: Tensor, middle: Tensor) -> Tensor:
        activity = _activity(middle, self.config.middle)
        return torch.cat((_before_middle(symbols, flags), activity), 1)

    def split(self, grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """First, middle and last groups of ``(..., C, H, W)``."""
        config = self.config
        sizes = (config.first, sum(config.middle), sum(config.last))
        first, middle, last = torch.split_with_sizes(grid, sizes, -3)
        return first, middle, last

    def flags(self, grid: Tensor) -> Tensor:
        """Which groups of each cell hold anything: 0 or 1, ``(B, groups, H, W)``."""
        groups = torch.split_with_sizes(grid[:, self.config.first :], self.config.groups, 1)
        return torch.cat([g.abs().amax(1, keepdim=True) for g in groups], 1).clamp(max=1)

    def spread(self, flags: Tensor, groups: tuple[int, ...]) -> Tensor:
        """Flags repeated for each channel of their groups."""
        counts = torch.tensor(groups, device=flags.device)
        return flags.repeat_interleave(counts, dim=1)


def even_cells(grid: Tensor) -> Tensor:
    """Boolean ``(1, 1, H, W)``: the checkerboard half that is coded first."""
    rows = torch.arange(grid.shape[-2], device=grid.device)[:, None]
    columns = torch.arange(grid.shape[-1], device=grid.device)
    return ((rows + columns) % 2 == 0)[None, None]


def neighbour_mean(means: Tensor) -> Tensor:
    """Rounded mean of the four neighbours of each cell, integer arithmetic, int64.

    What the averages of odd cells are coded around in a key clip, where even ones are known.
    """
    padded = F.pad(means.long(), (1, 1, 1, 1))
    ones = F.pad(torch.ones_like(means[:1, :1]).long(), (1, 1, 1, 1))
    total, count = (
        x[..., :-2, 1:-1] + x[..., 2:, 1:-1] + x[..., 1:-1, :-2] + x[..., 1:-1, 2:]
        for x in (padded, ones)
    )
    count = count.clamp(min=1)
    return torch.div(2 * total + count, 2 * count, rounding_mode="floor")


def key_means(first: Tensor) -> Tensor:
    """What the first group of a key clip is coded around: neighbours' averages in odd cells."""
    means = torch.zeros_like(first)
    # Averages come first, whatever the number of channels.
    places = list(spectrum(first.shape[1]).means)
    means[:, places] = neighbour_mean(first[:, places]).to(first.dtype)
    return means * ~even_cells(first)


def _enter(symbols: Tensor) -> Tensor:
    """Magnitudes as activations: 12 each up to 8, a quarter beyond."""
    size = symbols.detach().abs()
    return torch.minimum(12 * size, 72 + torch.floor(3 * size)).clamp(max=ACTIVATION_LIMIT)


def _before_middle(symbols: Tensor, flags: Tensor) -> Tensor:
    return torch.cat((_enter(symbols), flags * STEP_GAIN), 1)


def flagged_places(flags_GHW: Tensor, groups: tuple[int, ...]) -> Tensor:
    """Where the symbols of flagged groups are, flat in ``(channels, H, W)``: groups then channels.

    Looking at the flags alone spares passes over all channels.
    """
    cells = flags_GHW[0].numel()
    places, start = [], 0
    for size, flag in zip(groups, flags_GHW.flatten(1), strict=True):
        rows = torch.arange(start, start + size, device=flag.device)[:, None] * cells
        places.append((rows + flag.nonzero()[:, 0]).flatten())
        start += size
    return torch.cat(places)


def _activity(symbols: Tensor, groups: tuple[int, ...]) -> Tensor:
    """How much each group holds, as activations; of integers of any type."""
    # Most channels of a clip are zero everywhere, and looking costs less than adding.
    used = used_channels(symbols.detach()).nonzero()[:, 0]
    sizes = torch.tensor(groups, device=symbols.device)
    owners = torch.arange(len(groups), device=symbols.device).repeat_interleave(sizes)[used]
    sums = symbols.new_zeros(len(symbols), len(groups), *symbols.shape[2:])
    sums.index_add_(1, owners, symbols.detach()[:, used].abs())
    return _enter(sums.float() * 0.5)
