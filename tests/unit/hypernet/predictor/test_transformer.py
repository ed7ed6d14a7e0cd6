from __future__ import annotations

import pytest
import torch

from hypernet.predictor.transformer import VideoTransformer, _from_windows, _to_windows
from hypernet.predictor.weight_predictor import WeightPredictor
from tests.unit.hypernet.predictor.samples import SMALL, small_model


def test_windows_are_put_back_where_they_were() -> None:
    x = torch.randn(2, 3, 16, 24)
    assert torch.equal(_from_windows(_to_windows(x, 8), 2, 3), x)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (8, 8), (5, 17)])
def test_one_vector_per_cell(rows: int, columns: int) -> None:
    torch.manual_seed(0)
    network = VideoTransformer(SMALL.transformer, 6, 4)
    with torch.no_grad():
        cells = network(torch.rand(2, 6, rows, columns), torch.rand(2, 4))
    assert cells.shape == (2, 32, rows, columns)


def test_cells_see_their_own_content() -> None:
    torch.manual_seed(0)
    network = VideoTransformer(SMALL.transformer, 6, 4)
    inputs = torch.rand(1, 6, 8, 24)
    changed = inputs.clone()
    changed[..., 16:] = 0
    with torch.no_grad():
        before = network(inputs, torch.zeros(1, 4))
        after = network(changed, torch.zeros(1, 4))
    difference = (before - after).abs().mean((0, 1, 2))
    assert float(difference[0]) < 0.1 * float(difference[20])


def test_every_part_of_the_model_learns() -> None:
    from hypernet.training.losses import clip_losses

    model = small_model()
    frames = torch.rand(2, 2, 8, 3, 64, 64)
    learning = {n: p for n, p in model.named_parameters() if not n.startswith("kernels.")}
    optimizer = torch.optim.SGD(learning.values(), lr=0.01)
    for _ in range(2):  # the first moves the heads away from zero
        optimizer.zero_grad()
        losses = clip_losses(model, frames, torch.tensor([-4.5, 4.5]), torch.tensor([160, 170]))
        torch.autograd.backward(losses.total)
        optimizer.step()
    silent = [n for n, p in learning.items() if p.grad is None or not p.grad.abs().sum()]
    assert silent == []


def test_a_model_that_has_not_learned_corrects_nothing() -> None:
    model = small_model()
    frames, step = torch.rand(1, 8, 3, 64, 64), torch.tensor([160])
    with torch.no_grad():
        predicted = model(frames, step)
        for parameter in model.transformer.parameters():
            parameter.mul_(2)
        again = model(frames, step)
    assert torch.equal(predicted.grid, again.grid)
    assert predicted.grid.abs().sum()


def test_the_model_starts_as_a_cosine_transform() -> None:
    from hypernet.decoders.tubelet_layers import render_clips

    torch.manual_seed(0)
    model = WeightPredictor(SMALL)
    ramp = torch.linspace(0.2, 0.8, 128)
    frames = (ramp[:, None] * ramp).expand(1, 8, 3, -1, -1)
    times = torch.arange(8, dtype=torch.float32)
    step = torch.tensor([156])
    with torch.no_grad():
        predicted = model(frames, step)
        weights = predicted.sent(predicted.grid.round()).dequantized(step, None)
        decoded = render_clips(model.base(), weights, times)
    assert float((decoded - frames).square().mean()) < 2e-3
