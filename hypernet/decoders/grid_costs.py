"""What the learned prior asks for the grid of a clip, and the cheapest grid near a wanted one."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from hypernet.bitstream.flags import flag_bits
from hypernet.bitstream.tables import MAX_SUPPORT, cost_table
from hypernet.decoders.clip_coders import FIRST_TABLE
from hypernet.decoders.integer_prior import (
    NUM_TABLES,
    IntegerPrior,
    flagged_places,
    key_means,
)


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
        expected = self._expected(grid_BCHW)
        first, rest = self._split(grid_BCHW)
        told = _symbol_bits(rest.flatten()[expected.places], expected.tables)
        costs = _symbol_bits(first - expected.means, expected.first_tables)
        return float(costs.sum() + told.sum() + _flag_bits(expected.flags, expected.levels).sum())

    @torch.no_grad()
    def cheapest(self, wanted_BCHW: Tensor, grid_BCHW: Tensor, price: float) -> Tensor:
        """Integers near wanted values that cost least, distortion and bits together.

        Each value is rounded, rounded towards zero or dropped, then each group of each cell is
        kept or dropped.

        Args:
            wanted_BCHW: values in units of the step.
            grid_BCHW: symbols that the tables are taken from, the wanted values rounded.
            price: bits that a squared unit of distance is worth.
        """
        expected = self._expected(grid_BCHW)
        first, rest = self._split(wanted_BCHW)
        best_first, _ = _nearest(first, expected.means, expected.first_tables, price)
        # Where nothing is flagged all is zero already, and stays so.
        wanted = rest.flatten()[expected.places]
        best, least = _nearest(wanted, torch.zeros_like(wanted), expected.tables, price)
        owners = self._owners(expected.places, rest)
        levels = expected.levels.flatten()
        kept = _flag_bits(torch.ones_like(levels), levels).index_add_(0, owners, least)
        distance = torch.zeros_like(kept).index_add_(0, owners, wanted.square())
        dropped = price * distance + _flag_bits(torch.zeros_like(levels), levels)
        best_rest = torch.zeros_like(rest)
        best_rest.view(-1)[expected.places] = best * (kept < dropped)[owners]
        return torch.cat((best_first, best_rest), 1)

    def _expected(self, grid_BCHW: Tensor) -> _Expected:
        prior, context = self._prior, self._context
        first, middle, _ = prior.split(grid_BCHW)
        flags = prior.flags(grid_BCHW)
        tables = (
            prior.flagged_middle_tables(context, first, flags),
            prior.flagged_last_tables(context, first, flags, middle),
        )
        return _Expected(
            first_tables=prior.first_tables(context, first),
            means=key_means(first) if self._is_key else torch.zeros_like(first),
            flags=flags,
            levels=prior.flag_levels(context, first, flags),
            places=flagged_places(flags[0], prior.config.groups),
            tables=torch.cat(tables),
        )

    def _split(self, grid_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        first = self._prior.config.first
        return grid_BCHW[:, :first], grid_BCHW[:, first:]

    def _owners(self, places: Tensor, rest_BCHW: Tensor) -> Tensor:
        """Group and cell of each place, as a place among the flags."""
        sizes = torch.tensor(self._prior.config.groups, device=places.device)
        group_of_channel = torch.arange(len(sizes), device=places.device).repeat_interleave(sizes)
        cells = rest_BCHW[0, 0].numel()
        channels = places.div(cells, rounding_mode="floor")
        return group_of_channel[channels] * cells + places % cells


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Expected:
    """What codes a grid.

    Attributes:
        first_tables: of the first group, ``(1, first, H, W)``.
        means: what its symbols are coded around.
        flags: ``(1, groups, H, W)``.
        levels: of the flags.
        places: of the symbols of flagged groups among all that follow the first group, ``(N,)``.
        tables: of these, ``(N,)``.
    """

    first_tables: Tensor
    means: Tensor
    flags: Tensor
    levels: Tensor
    places: Tensor
    tables: Tensor


def _nearest(wanted: Tensor, means: Tensor, tables: Tensor, price: float) -> tuple[Tensor, Tensor]:
    """The cheapest integer for each value, and its cost."""
    best = rounded = wanted.round()
    least = price * (rounded - wanted).square() + _symbol_bits(rounded - means, tables)
    for other in (rounded - rounded.sign(), torch.zeros_like(rounded)):
        cost = price * (other - wanted).square() + _symbol_bits(other - means, tables)
        best = torch.where(cost < least, other, best)
        least = torch.minimum(cost, least)
    return best, least


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
