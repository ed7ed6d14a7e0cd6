"""How many bits integers will cost, as a smooth function that gradients can follow."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hypernet.weights import WeightSpec

MIN_BLOCK = 32  # values that share a scale, at least; short rows are taken together
MIN_SCALE = 0.03  # in steps; below it everything rounds to zero and costs nothing worth a gradient


def laplace_bits(scaled: Tensor, spec: WeightSpec) -> Tensor:
    """Entropy of a tensor after rounding, if each row or few followed a Laplace distribution.

    The coder chooses one integer table per row; a Laplace with the row's mean magnitude stands for
    that choice. Closed form, so a training step costs one pass over the values.

    Args:
        scaled: values in units of the quantisation step, any shape with ``spec.size`` elements.
        spec: tells how the values fall into rows (axis 0).

    Returns:
        Scalar: total bits.
    """
    blocks = _num_blocks(spec)
    scale = scaled.abs().view(blocks, -1).mean(dim=1).clamp_min(MIN_SCALE)
    return laplace_entropy(scale).sum() * (spec.size / blocks)


def laplace_entropy(scale: Tensor) -> Tensor:
    """Entropy in bits of a rounded Laplace variable with mean magnitude ``scale`` (in steps)."""
    # p(0) = 1 - a, p(k) = a (1 - b) b^(|k| - 1) / 2 with b = exp(-1 / scale), a = sqrt(b)
    b = torch.exp(-1.0 / scale)
    a = torch.exp(-0.5 / scale)
    zero = -(1 - a) * torch.log1p(-a)
    others = -a * (torch.log(a) + torch.log1p(-b) - math.log(2.0)) + a * b / (1 - b) / scale
    return (zero + others) / math.log(2.0)


def _num_blocks(spec: WeightSpec) -> int:
    """As many equal blocks of whole rows as hold ``MIN_BLOCK`` values each; at least one."""
    per_row = spec.size // spec.rows
    needed = min(spec.rows, -(-MIN_BLOCK // per_row))
    rows_per_block = next(n for n in range(needed, spec.rows + 1) if spec.rows % n == 0)
    return spec.rows // rows_per_block
