"""Layers that compute with integers only, exactly on every machine; see ``integer_prior``."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATION_BITS = 4
"""Fractional bits of an activation: the integer 16 stands for 1.0."""
ACTIVATION_LIMIT = 127
EXACT_LIMIT = 1 << 24
WEIGHT_LIMIT = 127


def round_through(x: Tensor) -> Tensor:
    """Round half up; gradients pass as if nothing happened."""
    rounded = torch.floor(x + 0.5)
    return x + (rounded - x).detach() if torch.is_grad_enabled() else rounded


class IntegerConvolution(nn.Module):
    """Convolution of integers by integers, stored as the real numbers they stand for."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        fan_in = inputs * kernel * kernel
        # Puts one standard deviation of the initial weights near 16 of the 127 levels.
        self.shift = round(4 + (fan_in.bit_length() - 1) / 2)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel) * fan_in**-0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self._frozen: tuple[Tensor, Tensor] | None = None

    def freeze(self) -> None:
        """Round once and for all; later changes of the parameters have no effect."""
        weight, bias = self._round()
        self._frozen = weight.detach(), bias.detach()

    @property
    def frozen(self) -> tuple[Tensor, Tensor] | None:
        """Weights and biases that were rounded once and for all."""
        return self._frozen

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
        weight, bias = (t.to(x.device) for t in self.rounded())
        if weight.shape[-1] == 1:
            product = torch.matmul(weight.flatten(1), x.flatten(2)) + bias[:, None]
            return torch.unflatten(product, 2, x.shape[-2:])
        if x.is_cuda:
            return _convolve_by_product(x, weight, bias)
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    def rounded(self) -> tuple[Tensor, Tensor]:
        """Weights and biases as they are computed with, float32; rounded once if frozen."""
        return self._frozen or self._round()

    def _round(self) -> tuple[Tensor, Tensor]:
        scaled = (self.weight * 2.0**self.shift).clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT)
        bias = round_through(self.bias * 2.0 ** (self.shift + ACTIVATION_BITS))
        return round_through(scaled), bias


def _convolve_by_product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolution as one matrix product.

    On CUDA a convolution may run as a Winograd transform, whose fractions are not exact.
    """
    columns = F.unfold(x, weight.shape[-1], padding=weight.shape[-1] // 2)
    product = weight.flatten(1) @ columns + bias[:, None]
    return product.view(*product.shape[:2], *x.shape[-2:])


def requantise(accumulator: Tensor, shift: int) -> Tensor:
    """Back to activations: divide by a power of two, round, rectify, saturate."""
    return round_through(accumulator * 2.0**-shift).clamp(0, ACTIVATION_LIMIT)
