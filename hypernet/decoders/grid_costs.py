"""What the learned prior asks for the grid of a clip, and the cheapest grid near a wanted one."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from hypernet.bitstream.flags import flag_bits
from hypernet.bitstream.tables import MAX_SUPPORT, cost_table
from hypernet.decoders.clip_coders import FIRST_TABLE
from hypernet.decoders.integer_prior import NUM_TABLES, IntegerPrior, key_means


class GridCosts:
    """Bits of grid symbols, given what both sides know before the first of them.

    Costs are those of the prior's tables; a clip's own versions of them make it a little cheaper.

    Args:
        prior: of the decode file.
        step_index: quantisation step of the grid.
        gate_BCHW: ``(1, 1, rows, columns)``, zeros and ones.
        reference_BCHW: grid symbols of the reference clip, None for a key clip.
    """

    def __init__(
        self, prior: IntegerPrior, step_index: int, gate_BCHW: Tensor, reference_BCHW: Tensor | None
    ) -> None:
        self._prior = prior
        self._is_key = reference_BCHW is None
        channels = prior.config.grid_channels
        before = gate_BCHW.new_zeros(1, channels, *gate_BCHW.shape[-2:])
        with torch.no_grad():
            self._context = prior.context(
                prior.config.step_weights(torch.tensor([step_index], device=gate_BCHW.device)),
                gate_BCHW,
                before if reference_BCHW is None else reference_BCHW,
                torch.tensor([float(not self._is_key)], device=gate_BCHW.device),
            )

    @torch.no_grad()
    def bits(self, grid_BCHW: Tensor) -> float:
        """Bits of a grid of integers (float32)."""
        tables, levels, means = self._expected(grid_BCHW)
        flags = self._prior.flags(grid_BCHW)
        costs = _symbol_bits(grid_BCHW - means, tables)
        first = self._prior.config.first
        told = self._spread(flags) * costs[:, first:]
        return float(costs[:, :first].sum() + told.sum() + _flag_bits(flags, levels).sum())

    @torch.no_grad()
    def cheapest(self, wanted_BCHW: Tensor, grid_BCHW: Tensor, price: float) -> Tensor:
        """Integers near wanted values that cost least, distortion and bits together.

        Each value is rounded, rounded towards zero or dropped, then each group of each cell is
        kept or dropped.

        Args:
            wanted_BCHW: values in units of the step.
            grid_BCHW: symbols that the tables are taken from.
            price: bits that a squared unit of distance is worth.
        """
        tables, levels, means = self._expected(grid_BCHW)
        rounded = wanted_BCHW.round()
        best = rounded
        least = price * (rounded - wanted_BCHW).square() + _symbol_bits(rounded - means, tables)
        for other in (rounded - rounded.sign(), torch.zeros_like(rounded)):
            cost = price * (other - wanted_BCHW).square() + _symbol_bits(other - means, tables)
            best = torch.where(cost < least, other, best)
            least = torch.minimum(cost, least)
        first = self._prior.config.first
        kept = self._group_sums(least[:, first:]) + _flag_bits(torch.ones_like(levels), levels)
        distance = self._group_sums(wanted_BCHW[:, first:].square())
        dropped = price * distance + _flag_bits(torch.zeros_like(levels), levels)
        return torch.cat((best[:, :first], best[:, first:] * self._spread(kept < dropped)), 1)

    def _expected(self, grid_BCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tables of all symbols, levels of all flags, and what symbols are coded around."""
        prior, context = self._prior, self._context
        first, middle, _ = prior.split(grid_BCHW)
        flags = prior.flags(grid_BCHW)
        tables = torch.cat(
            (
                prior.first_tables(context, first),
                prior.middle_tables(context, first, flags),
                prior.last_tables(context, first, flags, middle),
            ),
            1,
        )
        means = torch.zeros_like(grid_BCHW)
        if self._is_key:
            means[:, : prior.config.first] = key_means(first)
        return tables, prior.flag_levels(context, first, flags), means

    def _spread(self, per_group: Tensor) -> Tensor:
        return self._prior.spread(per_group, self._prior.config.groups)

    def _group_sums(self, values_BCHW: Tensor) -> Tensor:
        parts = torch.split_with_sizes(values_BCHW, self._prior.config.groups, 1)
        return torch.cat([part.sum(1, keepdim=True) for part in parts], 1)


def _symbol_bits(values: Tensor, tables: Tensor) -> Tensor:
    costs = _symbol_costs().to(values.device)
    magnitude = values.abs().clamp(max=MAX_SUPPORT + 1).long()
    return costs[magnitude * NUM_TABLES + tables.long()]


def _flag_bits(flags: Tensor, levels: Tensor) -> Tensor:
    costs = _flag_costs().to(levels.device)
    return costs[levels.long() * 2 + flags.long()]


@functools.cache
def _symbol_costs() -> Tensor:
    return torch.from_numpy(
        cost_table()[:, FIRST_TABLE : FIRST_TABLE + NUM_TABLES].copy()
    ).flatten()


@functools.cache
def _flag_costs() -> Tensor:
    return torch.from_numpy(flag_bits()).float().flatten()
