"""Choosing how a tensor is coded, from the exact cost of every choice.

A tensor is coded directly or as the difference from the same tensor of an earlier clip. All of it
shares one distribution shape. Its rows (axis 0) are taken in blocks of 2^level, each with its own
scale; its columns (axis 1) may each add an offset to that scale. Scales and offsets are coded as
differences between neighbours, so the best ones form a path: found by dynamic programming over the
costs of symbols and differences together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hypernet.bitstream.costs import (
    COST_UNIT,
    Costs,
    Indices,
    Magnitudes,
    delta_costs,
    scalar_bits,
    skew_costs,
)
from hypernet.bitstream.entropy import MAX_MAGNITUDE, Symbols, exceeds_magnitude
from hypernet.bitstream.tables import MAX_SKEW, NUM_SCALES, NUM_SHAPES
from hypernet.errors import EncodeFailed
from hypernet.weights import WeightSpec

SHAPE_BITS = 4
SCALE_BITS = 6
CENTRE_SCALE = 35
SKEW_SCALE = 38
"""Scales of the Laplace tables that code the centre and the skew of a tensor."""

_MAX_BLOCKS = 2048
_MAX_COLUMNS = 2048
_MIN_BLOCK_VALUES = 8
_FIRST_DELTA_SCALE = 35
_OFFSETS = np.arange(-24, 25)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Path:
    """A sequence of scales or offsets, and the table that codes its differences."""

    steps: Indices
    delta_scale: int
    bits: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TensorPlan:
    """How one tensor is coded.

    Attributes:
        residual: coded as the difference from the reference.
        centre: subtracted from what is coded.
        skew: how much more likely positive values are, in eighths.
        level: rows per block, as a power of two.
        shape: distribution shape.
        scales: distribution scale per block of rows, shape [ceil(rows / 2^level)].
        offsets: added to the scale per column, None if no column differs.
        bits: exact cost with side information.
    """

    residual: bool
    centre: int
    skew: int
    level: int
    shape: int
    scales: Path
    offsets: Path | None
    bits: float


def estimate_bits(symbols: Symbols, spec: WeightSpec, reference: Symbols | None = None) -> float:
    """Bits that a tensor takes in a payload, side information included.

    Args:
        symbols: int32 in the spec's shape.
        spec: the tensor's declaration.
        reference: the same tensor of the reference clip, if it has one.

    Raises:
        EncodeFailed: a magnitude is too large to be coded.
    """
    return plan_tensor(symbols, spec, reference).bits


def plan_tensor(symbols: Symbols, spec: WeightSpec, reference: Symbols | None) -> TensorPlan:
    """The cheapest way to code a tensor; arguments and errors as for :func:`estimate_bits`."""
    if exceeds_magnitude(symbols):
        raise EncodeFailed(f"{spec.name}: symbols exceed {MAX_MAGNITUDE}: use a larger step")
    flag_bits = 0 if reference is None else 1
    plan = _plan_values(symbols.reshape(spec.shape), residual=False, flag_bits=flag_bits)
    if reference is not None:
        difference = symbols - reference
        if not exceeds_magnitude(difference):
            other = _plan_values(difference.reshape(spec.shape), residual=True, flag_bits=flag_bits)
            plan = other if other.bits < plan.bits else plan
    return plan


def max_level(rows: int) -> int:
    """Smallest k for which one block of 2^k rows holds all rows."""
    return (rows - 1).bit_length()


def level_bits(rows: int) -> int:
    """Width of the field that says how many rows a block has."""
    return max_level(rows).bit_length()


def has_columns(spec_shape: tuple[int, ...]) -> bool:
    """Whether a tensor has a flag for column offsets."""
    return len(spec_shape) > 1 and spec_shape[1] > 1


def table_scales(
    shape: tuple[int, ...], level: int, scales: Indices, offsets: Indices | None
) -> Indices:
    """Scale of each row and column, [rows, columns]; one column if there are no offsets."""
    scales_RC: Indices = np.repeat(scales, 1 << level)[: shape[0], None]
    if offsets is not None:
        scales_RC = np.clip(scales_RC + offsets, 0, NUM_SCALES - 1)
    return scales_RC


def _plan_values(values: Symbols, *, residual: bool, flag_bits: int) -> TensorPlan:
    plan = _plan_centred(values, 0)
    centre = int(np.median(values))
    if centre and not exceeds_magnitude(values - np.int32(centre)):
        plan = min(plan, _plan_centred(values, centre), key=lambda plan: plan.bits)
    side_bits = flag_bits + level_bits(values.shape[0]) + SHAPE_BITS + SCALE_BITS
    side_bits += int(has_columns(values.shape))
    return replace(plan, residual=residual, bits=plan.bits + side_bits)


def _plan_centred(values: Symbols, centre: int) -> TensorPlan:
    centred = values - np.int32(centre)
    magnitudes = Magnitudes(centred)
    plan = _plan_rows(magnitudes)
    if has_columns(values.shape) and magnitudes.columns <= _MAX_COLUMNS:
        plan = _plan_columns(magnitudes, plan)
    costs = skew_costs(centred)
    skew = int(costs.argmin()) - MAX_SKEW
    bits = plan.bits + magnitudes.constant_bits + float(costs.min()) / COST_UNIT
    bits += scalar_bits(centre, CENTRE_SCALE) + scalar_bits(skew, SKEW_SCALE)
    return replace(plan, centre=centre, skew=skew, bits=bits)


def _plan_rows(magnitudes: Magnitudes) -> TensorPlan:
    """Best level, shape and scales."""
    finest = _finest_level(magnitudes)
    by_level = [magnitudes.block_costs(finest)]
    while len(by_level[-1]) > 1:
        by_level.append(_merge_pairs(by_level[-1]))
    plans: list[TensorPlan] = []
    for level in reversed(range(finest, finest + len(by_level))):
        costs_BST = by_level[level - finest].reshape(-1, NUM_SHAPES, NUM_SCALES)
        shape = int(costs_BST.min(axis=2).sum(axis=0).argmin())
        path = _best_path(costs_BST[:, shape])
        plans.append(
            TensorPlan(
                residual=False,
                centre=0,
                skew=0,
                level=level,
                shape=shape,
                scales=path,
                offsets=None,
                bits=path.bits,
            )
        )
    return min(plans, key=lambda plan: plan.bits)


def _plan_columns(magnitudes: Magnitudes, plan: TensorPlan) -> TensorPlan:
    """Add column offsets to a plan, then choose the scales of its rows again, if that pays."""
    row_scales = np.repeat(plan.scales.steps, 1 << plan.level)[: magnitudes.rows]
    costs = magnitudes.column_costs(plan.shape, row_scales, _OFFSETS)
    offsets = _best_path(costs, origin=int(np.flatnonzero(_OFFSETS == 0)[0]))
    offsets = replace(offsets, steps=_OFFSETS[offsets.steps])
    scales = _best_path(magnitudes.block_costs_given_columns(plan.level, plan.shape, offsets.steps))
    bits = scales.bits + _path_bits(offsets.steps, origin=0)[1]
    if bits >= plan.bits:
        return plan
    return replace(plan, scales=scales, offsets=offsets, bits=bits)


def _finest_level(magnitudes: Magnitudes) -> int:
    """Level of the smallest blocks worth trying."""
    level = 0
    while level < max_level(magnitudes.rows) and (
        magnitudes.rows >> level > _MAX_BLOCKS or magnitudes.row_size << level < _MIN_BLOCK_VALUES
    ):
        level += 1
    return level


def _merge_pairs(costs: Costs) -> Costs:
    merged = costs[0::2].copy()
    odd = costs[1::2]
    merged[: len(odd)] += odd
    return merged


def _best_path(costs_NT: Costs, origin: int | None = None) -> Path:
    """One state per element, cheapest in symbols and differences together.

    Args:
        costs_NT: cost of the symbols of each element in each state.
        origin: state that the first element's difference is taken from; None if it has none.
    """
    low, high = _useful_states(costs_NT, origin)
    costs = costs_NT[:, low:high]
    states = np.arange(high - low)
    delta_scale = _FIRST_DELTA_SCALE
    for _ in range(2):
        step_TT = delta_costs(states[:, None] - states)[:, :, delta_scale]
        start = costs[0] if origin is None else costs[0] + step_TT[origin - low]
        steps = low + _shortest_path(start, costs, step_TT)
        delta_scale, side_bits = _path_bits(steps, origin)
    symbol_bits = float(costs_NT[np.arange(len(steps)), steps].sum()) / COST_UNIT
    return Path(steps=steps, delta_scale=delta_scale, bits=symbol_bits + side_bits)


def _path_bits(steps: Indices, origin: int | None) -> tuple[int, float]:
    """Best table for the differences, and the bits they take with it."""
    deltas = np.diff(steps) if origin is None else np.diff(steps, prepend=origin)
    if not len(deltas):
        return 0, 0.0
    costs = delta_costs(deltas).sum(axis=0)
    delta_scale = int(costs.argmin())
    return delta_scale, float(costs[delta_scale]) / COST_UNIT + SCALE_BITS


def _useful_states(costs_NT: Costs, origin: int | None) -> tuple[int, int]:
    best = costs_NT.argmin(axis=1)
    if origin is not None:
        best = np.append(best, origin)
    return int(best.min()), int(best.max()) + 1


def _shortest_path(start: Costs, costs_NT: Costs, step_TT: Costs) -> Indices:
    arrival = start
    origins = np.empty(costs_NT.shape, dtype=np.int64)
    for element in range(1, len(costs_NT)):
        through_TT = arrival[:, None] + step_TT
        origins[element] = through_TT.argmin(axis=0)
        arrival = through_TT.min(axis=0) + costs_NT[element]
    path = np.empty(len(costs_NT), dtype=np.int64)
    path[-1] = arrival.argmin()
    for element in range(len(costs_NT) - 1, 0, -1):
        path[element - 1] = origins[element, path[element]]
    return path
