from __future__ import annotations

import torch

from hypernet.optimizer import FitOptimizer
from hypernet.weights import WeightSpec

SPECS = (
    WeightSpec(name="kernel", shape=(8, 4, 3, 3), init_std=0.2),
    WeightSpec(name="bias", shape=(8,), init_std=0.0),
    WeightSpec(name="gains", shape=(2, 3), init_std=0.0, init_mean=1.0),
)


def start() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        spec.name: torch.randn(spec.shape, generator=generator) * spec.init_std + spec.init_mean
        for spec in SPECS
    }


def optimizer(initial: dict[str, torch.Tensor]) -> FitOptimizer:
    return FitOptimizer(SPECS, initial, torch.full((3,), -4.0), learning_rate=0.05)


def distance(weights: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack([(weights[spec.name] - 0.5).square().mean() for spec in SPECS]).sum()


def test_weights_come_back_in_their_own_shapes() -> None:
    initial = start()
    weights = optimizer(initial).weights()
    assert {name: tuple(w.shape) for name, w in weights.items()} == {s.name: s.shape for s in SPECS}
    assert all(torch.equal(weights[name], initial[name]) for name in initial)


def test_every_tensor_moves_towards_the_minimum() -> None:
    fitted = optimizer(start())
    before = {name: (w.detach() - 0.5).abs().mean() for name, w in fitted.weights().items()}
    first = distance(fitted.weights()).item()
    for _ in range(60):
        fitted.step(distance(fitted.weights()), 1.0)
    after = {name: (w.detach() - 0.5).abs().mean() for name, w in fitted.weights().items()}
    assert distance(fitted.weights()).item() < 0.5 * first
    assert all(after[name] < before[name] for name in before)


def test_step_sizes_are_learned() -> None:
    fitted = optimizer(start())
    fitted.step(fitted.log2_steps.square().sum(), 1.0)
    assert (fitted.log2_steps > -4.0).all()


def test_scale_zero_changes_nothing() -> None:
    initial = start()
    fitted = optimizer(initial)
    fitted.step(distance(fitted.weights()), 0.0)
    assert all(torch.equal(w, initial[name]) for name, w in fitted.weights().items())


def test_the_start_values_are_not_touched() -> None:
    initial = start()
    fitted = optimizer(initial)
    fitted.step(distance(fitted.weights()), 1.0)
    assert all(torch.equal(initial[name], value) for name, value in start().items())
