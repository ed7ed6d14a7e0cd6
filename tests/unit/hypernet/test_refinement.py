from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hypernet.decoders.decode_file import DecodeFile
from hypernet.predictor.files import find_predictor
from hypernet.predictor.predicted import NearClip, PredictedClip
from hypernet.predictor.predictor import Predictor, load_predictor
from hypernet.presets import DEFAULT_MODEL
from hypernet.refinement import ClipContext, _Clip, refine_clip
from tests.unit.hypernet.predictor.samples import shaking

_CLIP = shaking([(2 * t, t) for t in range(9)], 60, 90)
FRAMES = (_CLIP[:8] * 255).to(torch.uint8)
REFERENCE = _CLIP[8]


@pytest.fixture(name="predictor", scope="module")
def _predictor() -> Predictor:
    file = find_predictor(DEFAULT_MODEL)
    return load_predictor(file.path, file.decode_file().path)


def refined(
    predictor: Predictor, context: ClipContext, steps: int
) -> tuple[PredictedClip, PredictedClip, int]:
    start = predictor.predict(context.frames_TCHW, 40, context.near)
    better, spent = refine_clip(
        start, context, predictor.decode_file, steps, should_stop=lambda: False
    )
    return start, better, spent


def cost(clip: PredictedClip, context: ClipContext, decode_file: DecodeFile) -> float:
    grid = torch.from_numpy(clip.symbols["grid"]).float()[None]
    return _Clip(clip, context, decode_file).tried(grid).cost


def context_of(predictor: Predictor, num_frames: int, is_inter: bool) -> ClipContext:
    grid = np.zeros_like(predictor.predict(FRAMES, 40).symbols["grid"])
    near = NearClip(picture=REFERENCE, offset=4.5, grid=grid) if is_inter else None
    return ClipContext(frames_TCHW=FRAMES[:num_frames], near=near)


@pytest.mark.parametrize("is_inter", [False, True])
def test_error_and_bits_together_get_less(predictor: Predictor, is_inter: bool) -> None:
    context = context_of(predictor, 8, is_inter)
    start, better, spent = refined(predictor, context, 3)
    assert spent == 3
    decode_file = predictor.decode_file
    assert cost(better, context, decode_file) < cost(start, context, decode_file)
    assert better.step_indices == start.step_indices
    for name in ("motion", "sway", "gate"):
        np.testing.assert_array_equal(better.symbols[name], start.symbols[name])


@pytest.mark.parametrize("num_frames", [8, 3])
@pytest.mark.parametrize("is_inter", [False, True])
def test_what_was_lost_comes_back(predictor: Predictor, num_frames: int, is_inter: bool) -> None:
    context, decode_file = context_of(predictor, num_frames, is_inter), predictor.decode_file
    whole = predictor.predict(context.frames_TCHW, 40, context.near)
    grid = whole.symbols["grid"].copy()
    grid[::2] = 0
    poor = replace(whole, symbols={**whole.symbols, "grid": grid})
    better, _ = refine_clip(poor, context, decode_file, 3, should_stop=lambda: False)
    costs = [cost(clip, context, decode_file) for clip in (whole, better, poor)]
    assert costs[1] - costs[0] < 0.1 * (costs[2] - costs[0])


@pytest.mark.parametrize("num_frames", [8, 3, 1])
def test_nothing_gets_worse(predictor: Predictor, num_frames: int) -> None:
    context = context_of(predictor, num_frames, True)
    start, after, _ = refined(predictor, context, 3)
    decode_file = predictor.decode_file
    assert cost(after, context, decode_file) <= cost(start, context, decode_file)


def test_without_steps_nothing_changes(predictor: Predictor) -> None:
    start, same, spent = refined(predictor, ClipContext(frames_TCHW=FRAMES), 0)
    assert spent == 0
    np.testing.assert_array_equal(same.symbols["grid"], start.symbols["grid"])


def test_it_stops_when_told(predictor: Predictor) -> None:
    start = predictor.predict(FRAMES, 40)
    context = ClipContext(frames_TCHW=FRAMES)
    _, spent = refine_clip(start, context, predictor.decode_file, 9, should_stop=lambda: True)
    assert spent == 0


def test_refinement_is_the_same_every_time(predictor: Predictor) -> None:
    context = ClipContext(frames_TCHW=FRAMES)
    _, once, _ = refined(predictor, context, 2)
    _, again, _ = refined(predictor, context, 2)
    np.testing.assert_array_equal(once.symbols["grid"], again.symbols["grid"])
