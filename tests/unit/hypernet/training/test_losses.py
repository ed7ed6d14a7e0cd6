from __future__ import annotations

import math

import pytest
import torch

from hypernet.decoders.integer_prior import table_scale
from hypernet.predictor.weight_predictor import PredictedWeights, distortion_weight
from hypernet.training.losses import clip_losses, symbol_bits
from tests.unit.hypernet.predictor.samples import small_model


@pytest.mark.parametrize("table", [10.0, 30.0, 38.0, 50.0])
def test_probabilities_of_all_symbols_sum_to_one(table: float) -> None:
    symbols = torch.arange(-3000.0, 3001.0)
    total = torch.exp2(-symbol_bits(symbols, torch.tensor(table)).double()).sum()
    assert float(total) == pytest.approx(1.0, abs=1e-4)


def test_bits_are_finite_and_smooth_far_from_the_mean() -> None:
    values = torch.tensor([0.0, 0.49, 0.51, 40.0, 1e4], requires_grad=True)
    bits = symbol_bits(values, torch.zeros(()))
    torch.autograd.backward(bits.sum())
    assert values.grad is not None
    assert torch.isfinite(bits).all()
    assert torch.isfinite(values.grad).all()
    # From one bin to the next nothing jumps.
    assert float((bits[2] - bits[1]).detach()) == pytest.approx(0, abs=1.0)


def test_bits_match_the_formula_in_the_tail() -> None:
    table = torch.tensor(45.0)
    scale = float(table_scale(table))
    expected = -math.log2(0.5 * (math.exp(-2.5 / scale) - math.exp(-3.5 / scale)))
    bits = symbol_bits(torch.tensor(3.0), table)
    assert float(bits) == pytest.approx(expected, rel=1e-5)


def test_bits_agree_with_the_committed_tables() -> None:
    from hypernet.bitstream.tables import LAPLACE_SHAPE, NUM_SCALES, cost_table

    for scale in (26, 32, 38, 45):
        bits = symbol_bits(torch.tensor([0.0, 1.0, 2.0]), torch.tensor(float(scale))).tolist()
        committed = cost_table()[:3, LAPLACE_SHAPE * NUM_SCALES + scale].tolist()
        assert bits == pytest.approx(committed, abs=0.03)


def test_finer_steps_value_errors_more() -> None:
    coarse, fine = distortion_weight(torch.tensor([155, 139])).tolist()
    assert fine == pytest.approx(16 * coarse, rel=1e-3)


def test_a_copy_of_the_reference_costs_far_less_than_a_key_clip() -> None:
    model = small_model()
    clip = torch.rand(1, 1, 1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    frames = clip.expand(2, 2, 8, -1, -1, -1)
    offsets = torch.tensor([-4.5, 4.5])
    with torch.no_grad():
        losses = clip_losses(model, frames, offsets, torch.tensor([165, 165]))
    assert losses.inter_bits_per_pixel.item() < 0.5 * losses.key_bits_per_pixel.item()


def test_training_the_prior_lowers_the_rate() -> None:
    model = small_model()
    generator = torch.Generator().manual_seed(3)
    frames = torch.rand(1, 2, 8, 3, 64, 64, generator=generator)
    optimizer = torch.optim.Adam(model.prior.parameters(), lr=0.02)
    rates = []
    for _ in range(20):
        losses = clip_losses(model, frames, torch.tensor([4.5]), torch.tensor([165]))
        optimizer.zero_grad()
        torch.autograd.backward(losses.total)
        optimizer.step()
        rates.append(losses.key_bits_per_pixel.item())
    assert rates[-1] < 0.9 * rates[0]


def test_what_is_dropped_for_its_bits_has_no_gradient() -> None:
    wanted = torch.tensor([[[[0.6, 1.4]], [[-2.3, 0.2]]]], requires_grad=True)
    nothing = torch.zeros(1, 0)
    predicted = PredictedWeights(motion=nothing, sway=nothing, gate=nothing, grid=wanted)
    chosen = torch.tensor([[[[0.0, 1.0]], [[-2.0, 0.0]]]])
    sent = predicted.sent(chosen).grid
    assert torch.equal(sent.detach(), chosen)
    torch.autograd.backward(sent.sum())
    assert wanted.grad is not None
    assert wanted.grad.flatten().tolist() == [0, 1, 1, 0]
