"""Choosing how a tensor is coded, from the exact cost of every choice.

A tensor is coded directly or as the difference from the same tensor of an earlier clip. Its rows
(axis 0) are taken in blocks of 2^k, each with its own scale; all blocks share one distribution
shape. Scales are coded as differences between consecutive blocks, so the best scales are a path:
found by dynamic programming over the costs of symbols and differences together.

Costs are multiples of 2^-10 bit held in float64. Sums of them are exact, so decisions do not depend
on the number of threads or the order of summation.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypernet.bitstream.entropy import Symbols, exceeds_magnitude
from hypernet.bitstream.tables import (
    MAX_SUPPORT,
    NUM_SCALES,
    NUM_SHAPES,
    cost_table,
    escape_bits,
)
from hypernet.weights import WeightSpec

SHAPE_BITS = 3
SCALE_BITS = 6
DELTA_SHAPE = 2
"""Distribution shape of scale differences: Laplace."""

_COST_UNIT = 1024.0
_MAX_BLOCKS = 2048
_MIN_BLOCK_VALUES = 8
_FIRST_DELTA_SCALE = 35

Costs = NDArray[np.float64]
Scales = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TensorPlan:
    """How one tensor is coded.

    Attributes:
        residual: coded as the difference from the reference.
        level: rows per block, as a power of two.
        shape: distribution shape of every block.
        scales: distribution scale per block, int64, shape [ceil(rows / 2^level)].
        delta_scale: scale of the table that codes the differences between scales.
        bits: exact cost with side information, up to 2^-10 bit per value.
    """

    residual: bool
    level: int
    shape: int
    scales: Scales
    delta_scale: int
    bits: float


def estimate_bits(symbols: Symbols, spec: WeightSpec, reference: Symbols | None = None) -> float:
    """Bits that :func:`encode_tensor` spends on a tensor, side information included.

    Args:
        symbols: int32 in the spec's shape.
        spec: the tensor's declaration.
        reference: the same tensor of the reference clip, if it has one.
    """
    return plan_tensor(symbols, spec, reference).bits


def plan_tensor(symbols: Symbols, spec: WeightSpec, reference: Symbols | None) -> TensorPlan:
    """The cheapest way to code a tensor; arguments as for :func:`estimate_bits`."""
    flag_bits = 0 if reference is None else 1
    plan = _plan_values(symbols, spec, residual=False, flag_bits=flag_bits)
    if reference is not None:
        difference = symbols - reference
        if not exceeds_magnitude(difference):
            other = _plan_values(difference, spec, residual=True, flag_bits=flag_bits)
            plan = other if other.bits < plan.bits else plan
    return plan


def max_level(rows: int) -> int:
    """Smallest k for which one block of 2^k rows holds all rows."""
    return (rows - 1).bit_length()


def level_bits(rows: int) -> int:
    """Width of the field that says how many rows a block has."""
    return max_level(rows).bit_length()


def _plan_values(
    values: Symbols, spec: WeightSpec, *, residual: bool, flag_bits: int
) -> TensorPlan:
    side_bits = flag_bits + level_bits(spec.rows) + SHAPE_BITS + SCALE_BITS
    level, costs = _finest_costs(values.reshape(spec.rows, -1), spec)
    by_level = [costs]
    while len(by_level[-1]) > 1:
        by_level.append(_merge_pairs(by_level[-1]))
    plans: list[TensorPlan] = []
    for coarseness in reversed(range(len(by_level))):
        costs_BST = by_level[coarseness].reshape(-1, NUM_SHAPES, NUM_SCALES)
        bounds = costs_BST.min(axis=2).sum(axis=0) / _COST_UNIT + side_bits
        shape = int(bounds.argmin())
        if plans and bounds[shape] >= min(plan.bits for plan in plans):
            continue
        scales, delta_scale, path_bits = _best_path(costs_BST[:, shape])
        plan = TensorPlan(
            residual=residual,
            level=level + coarseness,
            shape=shape,
            scales=scales,
            delta_scale=delta_scale,
            bits=path_bits + side_bits,
        )
        plans.append(plan)
    return min(plans, key=lambda plan: plan.bits)


def _finest_costs(values_RC: Symbols, spec: WeightSpec) -> tuple[int, Costs]:
    """Level and costs [blocks, NUM_TABLES] of the smallest blocks worth trying."""
    level = 0
    while level < max_level(spec.rows) and (
        spec.rows >> level > _MAX_BLOCKS or values_RC.shape[1] << level < _MIN_BLOCK_VALUES
    ):
        level += 1
    num_blocks = -(-spec.rows >> level)
    magnitudes = np.abs(values_RC)
    width = min(int(magnitudes.max()), MAX_SUPPORT + 1) + 1
    clipped = np.minimum(magnitudes, width - 1, dtype=np.int64)
    block_of_row = np.arange(spec.rows) >> level
    cells = clipped + (block_of_row * width)[:, None]
    counts = np.bincount(cells.ravel(), minlength=num_blocks * width).reshape(num_blocks, width)
    costs: Costs = counts.astype(np.float64) @ _costs()[:width]
    far = magnitudes > MAX_SUPPORT
    if far.any():
        extra = escape_bits(magnitudes[far]) * _COST_UNIT
        blocks = np.broadcast_to(block_of_row[:, None], far.shape)[far]
        costs += np.bincount(blocks, weights=extra, minlength=num_blocks)[:, None]
    return level, costs


def _merge_pairs(costs: Costs) -> Costs:
    merged = costs[0::2].copy()
    odd = costs[1::2]
    merged[: len(odd)] += odd
    return merged


def _best_path(costs_BT: Costs) -> tuple[Scales, int, float]:
    """Scales per block, scale of their difference table, and bits of both and of the symbols."""
    if len(costs_BT) == 1:
        scale = int(costs_BT[0].argmin())
        return np.array([scale]), 0, float(costs_BT[0, scale]) / _COST_UNIT
    delta_scale = _FIRST_DELTA_SCALE
    for _ in range(2):
        scales = _shortest_path(costs_BT, _delta_costs()[:, :, delta_scale])
        deltas = np.abs(np.diff(scales))
        delta_bits = _costs()[deltas][:, _delta_tables()].sum(axis=0)
        delta_scale = int(delta_bits.argmin())
    symbol_bits = costs_BT[np.arange(len(scales)), scales].sum()
    total = float(symbol_bits + delta_bits[delta_scale]) / _COST_UNIT
    return scales, delta_scale, total + SCALE_BITS


def _shortest_path(costs_BT: Costs, step_TT: Costs) -> Scales:
    """Path through the scales that minimises the sum of block costs and step costs."""
    arrival = costs_BT[0]
    origins = np.empty(costs_BT.shape, dtype=np.int64)
    for block in range(1, len(costs_BT)):
        through_TT = arrival[:, None] + step_TT
        origins[block] = through_TT.argmin(axis=0)
        arrival = through_TT.min(axis=0) + costs_BT[block]
    scales = np.empty(len(costs_BT), dtype=np.int64)
    scales[-1] = arrival.argmin()
    for block in range(len(costs_BT) - 1, 0, -1):
        scales[block - 1] = origins[block, scales[block]]
    return scales


@functools.cache
def _costs() -> Costs:
    return np.rint(cost_table().astype(np.float64) * _COST_UNIT)


def _delta_tables() -> slice:
    return slice(DELTA_SHAPE * NUM_SCALES, (DELTA_SHAPE + 1) * NUM_SCALES)


@functools.cache
def _delta_costs() -> Costs:
    """Cost of a step between two scales, shape [NUM_SCALES, NUM_SCALES, difference table]."""
    scales = np.arange(NUM_SCALES)
    steps: Costs = _costs()[np.abs(scales[:, None] - scales)][:, :, _delta_tables()]
    return steps
