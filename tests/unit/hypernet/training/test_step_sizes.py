from __future__ import annotations

import pytest
import torch

from hypernet.bitstream.steps import NUM_STEPS
from hypernet.training import step_sizes
from hypernet.training.step_sizes import middle_steps
from tests.unit.hypernet.predictor.factor_samples import small_factor_model
from tests.unit.hypernet.predictor.samples import drifting


def _tiles() -> torch.Tensor:
    return torch.stack([drifting(8, 32, 32, speed) for speed in (0.0, 1.0, 3.0)])


def test_a_layer_that_shows_less_gets_coarser_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_sizes, "_worth", lambda *arguments: -(arguments[3] == 1))
    model = small_factor_model()
    with torch.no_grad():
        for head in model.heads.values():
            head.get_submodule("1").get_parameter("weight").normal_(std=0.02)
    before = middle_steps(model, _tiles())
    assert before.keys() == {0, 1, 2}
    with torch.no_grad():
        # Larger shipped factors make what departs from them matter less.
        model.kernels["layer2_factors"].mul_(4)
    after = middle_steps(model, _tiles())
    assert after[2] > before[2] + 8


def test_a_layer_that_is_worth_little_is_not_sent() -> None:
    model = small_factor_model()
    with torch.no_grad():
        model.heads["2"].get_submodule("1").get_parameter("weight").normal_(std=0.02)
    steps = middle_steps(model, _tiles())
    assert steps[1] < NUM_STEPS - 1
    assert steps[0] == steps[2] == NUM_STEPS - 1


def test_steps_follow_the_size_of_factors() -> None:
    model = small_factor_model()
    before = middle_steps(model, _tiles())[1]
    with torch.no_grad():
        model.heads["1"].get_submodule("1").get_parameter("weight").mul_(0.25)
        model.heads["1"].get_submodule("1").get_parameter("bias").mul_(0.25)
    assert before - middle_steps(model, _tiles())[1] == 16
