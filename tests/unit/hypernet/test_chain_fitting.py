from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from hypernet.chain_fitting import FIRST_SHARE, fit_chain
from hypernet.decoders.nirvana import NirvanaConfig, NirvanaDecoder
from hypernet.errors import Cancelled
from hypernet.fitting import FitProgress, FitSettings, FittedWeights, fit
from hypernet.quantization import dequantize
from hypernet.rate_distortion import coded_bits, decoded_quality
from hypernet.weights import ClipShape

CONFIG = NirvanaConfig(group_frames=4, patch=4, stride=2, hidden=16, layers=1, channels=4, width=4)
SETTINGS = FitSettings(rate_weight=0.001, steps=60, learning_rate=0.04, batch_frames=4)


def decoder_of(frames: int) -> NirvanaDecoder:
    return NirvanaDecoder(CONFIG, ClipShape(frames=frames, height=20, width=28))


def still(frames: int) -> Tensor:
    y, x = torch.meshgrid(torch.arange(20), torch.arange(28), indexing="ij")
    picture = torch.stack([9 * y, 8 * x, 100 + 60 * torch.sin(x / 4)])
    return picture.to(torch.uint8).expand(frames, 3, 20, 28)


def moving(frames: int) -> Tensor:
    noise = torch.randint(0, 256, (frames, 3, 3, 4), generator=torch.Generator().manual_seed(5))
    return torch.nn.functional.interpolate(noise.float(), size=(20, 28), mode="bilinear").to(
        torch.uint8
    )


def bits(clips: tuple[FittedWeights, ...]) -> list[float]:
    specs = decoder_of(1).weight_specs()
    references = [None, *(clip.symbols for clip in clips)]
    return [coded_bits(specs, c.symbols, r) for c, r in zip(clips, references, strict=False)]


def test_a_segment_becomes_clips_and_a_rest() -> None:
    clips = fit_chain(decoder_of, still(11), SETTINGS, 4)
    assert len(clips) == 3
    assert {clip.step_indices for clip in clips} == {clips[0].step_indices}
    unit = 60 / (FIRST_SHARE + 2)
    assert [clip.steps for clip in clips] == [round(FIRST_SHARE * unit), round(unit), round(unit)]


def test_one_clip_is_an_ordinary_fit() -> None:
    (clip,) = fit_chain(decoder_of, still(3), SETTINGS, 4)
    alone = fit(decoder_of(3), still(3), SETTINGS)
    assert all(np.array_equal(clip.symbols[name], alone.symbols[name]) for name in alone.symbols)


def test_what_does_not_change_costs_next_to_nothing() -> None:
    settings = replace(SETTINGS, steps=200)
    first, second, third = bits(fit_chain(decoder_of, still(12), settings, 4))
    assert second + third < 0.5 * first
    fast = bits(fit_chain(decoder_of, moving(12), settings, 4))
    assert second + third < 0.5 * (fast[1] + fast[2])


def test_a_later_clip_starts_where_the_one_before_ended() -> None:
    settings = replace(SETTINGS, steps=120)
    _, second = fit_chain(decoder_of, still(8), settings, 4)
    alone = fit(decoder_of(4), still(4), replace(settings, steps=second.steps))
    assert mse(second) < 0.5 * mse(alone)


def test_progress_runs_through_the_segment_once() -> None:
    seen: list[FitProgress] = []
    fit_chain(decoder_of, still(8), SETTINGS, 4, on_progress=seen.append)
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    assert len(fractions) == 60
    assert fractions[-1] == pytest.approx(1)


def test_a_chain_can_be_cancelled_between_its_clips() -> None:
    steps = iter(range(100))
    with pytest.raises(Cancelled):
        fit_chain(decoder_of, still(8), SETTINGS, 4, should_stop=lambda: next(steps) > 50)
    assert next(steps) == 52


def test_a_budget_for_less_than_one_step_still_ends() -> None:
    clips = fit_chain(decoder_of, still(8), replace(SETTINGS, seconds=0), 4)
    assert [clip.steps for clip in clips] == [0, 0]
    assert bits(clips)[1] < 0.1 * bits(clips)[0]


def mse(fitted: FittedWeights) -> float:
    decoder = decoder_of(4)
    weights = dequantize(decoder.weight_specs(), fitted.symbols, fitted.step_indices)
    return decoded_quality(decoder, weights, still(4)).mse
