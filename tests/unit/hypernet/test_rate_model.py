from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hypernet.bitstream.weights import encode_weights
from hypernet.rate_model import laplace_bits, laplace_entropy
from hypernet.weights import WeightSpec


def summed_entropy(scale: float) -> float:
    """Entropy of round(Laplace(0, scale)), term by term."""
    probability = {0: -math.expm1(-0.5 / scale)}
    for k in range(1, math.ceil(60 * scale) + 2):
        probability[k] = probability[-k] = (
            math.exp(-(k - 0.5) / scale) * -math.expm1(-1 / scale) / 2
        )
    assert sum(probability.values()) == pytest.approx(1, abs=1e-9)
    return -sum(p * math.log2(p) for p in probability.values() if p > 0)


@pytest.mark.parametrize("scale", [0.05, 0.1, 0.3, 0.7, 1.0, 2.5, 10.0, 300.0])
def test_closed_form_equals_the_sum(scale: float) -> None:
    entropy = laplace_entropy(torch.tensor(scale)).item()
    assert entropy == pytest.approx(summed_entropy(scale), rel=1e-3, abs=1e-6)


def test_gradient_is_that_of_the_sum() -> None:
    scale = torch.tensor(0.8, requires_grad=True)
    laplace_entropy(scale).backward()  # type: ignore[no-untyped-call]
    slope = (summed_entropy(0.8001) - summed_entropy(0.7999)) / 0.0002
    assert scale.grad is not None
    assert scale.grad.item() == pytest.approx(slope, rel=1e-3)


def test_zeros_cost_nothing_and_have_a_gradient() -> None:
    values = torch.zeros(4, 50, requires_grad=True)
    bits = laplace_bits(values, WeightSpec(name="w", shape=(4, 50), init_std=1.0))
    bits.backward()  # type: ignore[no-untyped-call]
    assert 0 <= bits.item() < 0.01
    assert values.grad is not None
    assert values.grad.isfinite().all()


def test_larger_values_cost_more() -> None:
    spec = WeightSpec(name="w", shape=(4, 50), init_std=1.0)
    values = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    costs = [laplace_bits(values * scale, spec).item() for scale in (0.1, 0.5, 1.0, 4.0, 100.0)]
    assert costs == sorted(costs)


@pytest.mark.parametrize("scale", [0.4, 1.5, 8.0])
def test_the_estimate_is_close_to_the_coded_size(scale: float) -> None:
    rng = np.random.default_rng(0)
    rows = scale * 2.0 ** rng.uniform(-1, 1, (24, 1))
    values = rng.laplace(0, rows, (24, 400))
    spec = WeightSpec(name="w", shape=(24, 400), init_std=1.0)
    estimate = laplace_bits(torch.from_numpy(values), spec).item()
    coded = 8 * len(encode_weights({"w": np.rint(values).astype(np.int32)}, (spec,)))
    assert coded == pytest.approx(estimate, rel=0.03)


def test_short_rows_share_a_scale() -> None:
    values = torch.tensor([[0.1, 0.1], [9.0, 9.0]])
    shared = laplace_bits(values, WeightSpec(name="w", shape=(2, 2), init_std=1.0)).item()
    assert shared == pytest.approx(4 * laplace_entropy(torch.tensor(4.55)).item())
