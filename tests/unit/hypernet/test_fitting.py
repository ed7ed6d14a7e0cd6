from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hypernet.bitstream.weights import encode_weights
from hypernet.decoders.nerv import NervConfig, NervDecoder
from hypernet.errors import Cancelled, EncodeFailed
from hypernet.evaluation.metrics import PsnrAccumulator
from hypernet.fitting import FitProgress, FitSettings, FittedWeights, fit, initial_weights
from hypernet.quantization import dequantize
from hypernet.rate_distortion import coded_bits, decoded_quality
from hypernet.rendering import to_uint8
from hypernet.weights import ClipShape
from tests.clips import moving

WIDTH, HEIGHT, FRAMES, STEPS = 48, 32, 8, 60
CONFIG = NervConfig(
    frequencies=6, hidden=16, widths=(12, 10, 8), strides=(2, 2), head_kernel=3, head_stride=2
)
DECODER = NervDecoder(CONFIG, ClipShape(frames=FRAMES, height=HEIGHT, width=WIDTH))
SPECS = DECODER.weight_specs()
PICTURES = np.stack(moving(FRAMES, (WIDTH, HEIGHT)))


def clip() -> Tensor:
    return torch.from_numpy(PICTURES).permute(0, 3, 1, 2)


def settings(**changes: Any) -> FitSettings:
    usual: dict[str, Any] = {"rate_weight": 1e-4, "steps": STEPS, "batch_frames": 4}
    return FitSettings(**(usual | changes))


def coded_bytes(fitted: FittedWeights) -> int:
    return len(encode_weights(fitted.symbols, SPECS))


def decoded_psnr(fitted: FittedWeights) -> float:
    weights = dequantize(SPECS, fitted.symbols, fitted.step_indices)
    with torch.inference_mode():
        decoded = to_uint8(DECODER.render(weights, torch.arange(FRAMES).float()))
    quality = PsnrAccumulator()
    for expected, frame in zip(PICTURES, decoded.numpy(), strict=True):
        quality.add(expected, frame)
    return quality.psnr_db


def same(one: FittedWeights, other: FittedWeights) -> bool:
    return one.step_indices == other.step_indices and all(
        np.array_equal(one.symbols[name], other.symbols[name]) for name in one.symbols
    )


def loss(fitted: FittedWeights, rate_weight: float = 1e-4) -> float:
    weights = dequantize(SPECS, fitted.symbols, fitted.step_indices)
    mse = decoded_quality(DECODER, weights, clip()).mse
    return mse + rate_weight * coded_bits(SPECS, fitted.symbols) / DECODER.clip.pixels


@pytest.fixture(scope="module")
def fitted() -> FittedWeights:
    return fit(DECODER, clip(), settings())


@pytest.fixture(scope="module")
def good() -> FittedWeights:
    """A fit of five times as many steps."""
    return fit(DECODER, clip(), settings(steps=5 * STEPS))


def test_what_is_fitted_can_be_sent(fitted: FittedWeights) -> None:
    assert fitted.steps == STEPS
    assert len(fitted.step_indices) == len(SPECS)
    assert {n: s.shape for n, s in fitted.symbols.items()} == {s.name: s.shape for s in SPECS}
    assert all(symbols.dtype == np.int32 for symbols in fitted.symbols.values())


def test_fitting_learns_the_clip(fitted: FittedWeights) -> None:
    short = fit(DECODER, clip(), settings(steps=1))
    assert decoded_psnr(fitted) > decoded_psnr(short) + 5


@pytest.mark.parametrize("seed", [0, 1])
def test_rate_awareness_saves_bits_at_nearly_equal_quality(seed: int) -> None:
    free = fit(DECODER, clip(), settings(rate_weight=0.0, seed=seed))
    aware = fit(DECODER, clip(), settings(rate_weight=1e-4, seed=seed))
    assert coded_bytes(aware) < 0.8 * coded_bytes(free)
    assert decoded_psnr(aware) > decoded_psnr(free) - 0.7


def test_steps_and_seed_decide_the_result(fitted: FittedWeights) -> None:
    assert same(fit(DECODER, clip(), settings()), fitted)
    assert not same(fit(DECODER, clip(), settings(seed=1)), fitted)


def test_refinement_improves_what_it_starts_from(fitted: FittedWeights) -> None:
    before = {name: symbols.copy() for name, symbols in fitted.symbols.items()}
    refined = fit(DECODER, clip(), settings(), initial=fitted)
    assert refined.step_indices == fitted.step_indices
    assert decoded_psnr(refined) > decoded_psnr(fitted) + 1
    assert coded_bytes(refined) < 1.1 * coded_bytes(fitted)
    assert all(np.array_equal(fitted.symbols[name], before[name]) for name in before)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("steps", [1, 5, 50])
def test_a_short_refinement_never_makes_a_good_fit_worse(
    good: FittedWeights, steps: int, seed: int
) -> None:
    refined = fit(DECODER, clip(), settings(steps=steps, seed=seed), initial=good)
    assert refined.steps == steps
    assert loss(refined) <= loss(good)
    assert decoded_psnr(refined) > decoded_psnr(good) - 0.1
    assert coded_bytes(refined) < 1.02 * coded_bytes(good)


def test_a_good_fit_can_still_be_refined(good: FittedWeights) -> None:
    refined = [fit(DECODER, clip(), settings(steps=50, seed=n), initial=good) for n in range(3)]
    assert min(map(loss, refined)) < loss(good)


def test_a_refinement_that_goes_astray_leaves_the_start(good: FittedWeights) -> None:
    astray = settings(steps=20, learning_rate=1.0)
    assert same(fit(DECODER, clip(), astray, initial=good), good)


def test_a_target_counts_more_than_the_loss(good: FittedWeights) -> None:
    target = decoded_psnr(good) - 0.05
    cheap = settings(steps=60, rate_weight=0.1, target_psnr_db=target)
    assert loss(fit(DECODER, clip(), replace(cheap, target_psnr_db=None), initial=good), 0.1) < (
        0.5 * loss(good, 0.1)
    )
    assert decoded_psnr(fit(DECODER, clip(), cheap, initial=good)) >= target


def test_a_target_stops_early() -> None:
    target = 24.0
    stopped = fit(DECODER, clip(), settings(steps=300, target_psnr_db=target))
    assert 1 <= stopped.steps < 300
    assert decoded_psnr(stopped) >= target - 0.01


def test_a_target_out_of_reach_takes_all_steps() -> None:
    assert fit(DECODER, clip(), settings(steps=20, target_psnr_db=200.0)).steps == 20


def test_cancelling_stops_between_steps() -> None:
    seen: list[FitProgress] = []
    with pytest.raises(Cancelled):
        fit(
            DECODER,
            clip(),
            settings(),
            on_progress=seen.append,
            should_stop=lambda: len(seen) == 3,
        )
    assert [progress.step for progress in seen] == [1, 2, 3]


def test_a_spent_budget_leaves_the_start() -> None:
    start = initial_weights(SPECS, 0, clip())
    unfitted = fit(DECODER, clip(), settings(seconds=0.0))
    assert unfitted.steps == 0
    weights = dequantize(SPECS, unfitted.symbols, unfitted.step_indices)
    assert all((weights[s.name] - start[s.name]).abs().max() < 0.5 for s in SPECS)


def test_a_budget_of_seconds_ends_the_fit() -> None:
    fitted = fit(DECODER, clip(), settings(steps=1_000_000, seconds=0.2))
    assert 1 <= fitted.steps < 1_000_000


def test_progress_is_that_of_the_clip() -> None:
    seen: list[FitProgress] = []
    fitted = fit(DECODER, clip(), settings(), on_progress=seen.append)
    assert [progress.step for progress in seen] == list(range(1, STEPS + 1))
    assert [p.fraction for p in seen] == pytest.approx([n / STEPS for n in range(1, STEPS + 1)])
    assert seen[-1].psnr_db == pytest.approx(decoded_psnr(fitted), abs=1.5)


def test_the_rate_estimate_is_close_to_the_bytes() -> None:
    seen: list[FitProgress] = []
    fitted = fit(DECODER, clip(), settings(steps=150), on_progress=seen.append)
    estimated = seen[-1].bits_per_pixel * DECODER.clip.pixels / 8
    assert coded_bytes(fitted) == pytest.approx(estimated, rel=0.1)


def test_a_fit_that_diverges_is_reported() -> None:
    with pytest.raises(EncodeFailed, match="diverged at step 2"):
        fit(DECODER, clip(), settings(learning_rate=1e38))
    with pytest.raises(EncodeFailed):  # by its last step, which no loss sees
        fit(DECODER, clip(), settings(steps=1, learning_rate=1e38))


def test_a_fit_starts_from_the_mean_colour() -> None:
    start = initial_weights(SPECS, 0, clip())
    start["head.weight"].zero_()
    frame = DECODER.render(start, torch.zeros(1))[0]
    mean = clip().float().mean(dim=(0, 2, 3)) / 255
    torch.testing.assert_close(frame, mean[:, None, None].expand_as(frame), rtol=0, atol=1e-4)
