from __future__ import annotations

import pytest
import torch

from hypernet.training.factor_losses import factor_losses
from tests.unit.hypernet.predictor.factor_samples import small_factor_model
from tests.unit.hypernet.predictor.samples import drifting


def _noise() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def _pair(second_brighter_by: float) -> torch.Tensor:
    clip = drifting(8, 32, 32)
    return torch.stack((clip, clip + second_brighter_by))[None]


def test_clips_that_are_alike_are_coherent() -> None:
    model = small_factor_model()
    alike = factor_losses(model, _pair(0.0), _noise(), coherence_weight=0.1)
    apart = factor_losses(model, _pair(0.2), _noise(), coherence_weight=0.1)
    assert float(alike.incoherence) == pytest.approx(0, abs=1e-6)
    assert float(apart.incoherence) > 0.001
    expected = float(apart.mse.detach() + 0.1 * apart.incoherence)
    assert float(apart.total.detach()) == pytest.approx(expected, rel=1e-5)


def test_without_the_term_only_the_first_clip_is_looked_at() -> None:
    model = small_factor_model()
    one = factor_losses(model, _pair(0.0), _noise(), coherence_weight=0.0)
    other = factor_losses(model, _pair(0.3), _noise(), coherence_weight=0.0)
    assert torch.equal(one.total, other.total)
    assert float(one.incoherence) == 0


def test_every_part_of_the_model_learns() -> None:
    model = small_factor_model()
    losses = factor_losses(model, _pair(0.1), _noise(), coherence_weight=0.1)
    torch.autograd.backward(losses.total)
    silent = [n for n, p in model.named_parameters() if p.grad is None]
    assert silent == []
