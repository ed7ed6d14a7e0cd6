from __future__ import annotations

import numpy as np
import pytest
import torch

from hypernet.decoders.decode_file import DecodeFile
from hypernet.predictor.files import find_predictor
from hypernet.predictor.predicted import NearClip, PredictedClip
from hypernet.predictor.predictor import Predictor, load_predictor
from hypernet.presets import DEFAULT_MODEL
from hypernet.refinement import ClipContext, _Clip, refine_clip
from tests.unit.hypernet.predictor.samples import drifting

FRAMES = (drifting(8, 60, 90, 1.5) * 255).to(torch.uint8)
REFERENCE = drifting(9, 60, 90, 1.5)[-1]


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


@pytest.mark.parametrize("num_frames", [8, 3])
@pytest.mark.parametrize("is_inter", [False, True])
def test_error_and_bits_together_get_less(
    predictor: Predictor, num_frames: int, is_inter: bool
) -> None:
    grid = np.zeros_like(predictor.predict(FRAMES, 40).symbols["grid"])
    near = NearClip(picture=REFERENCE, offset=4.5, grid=grid) if is_inter else None
    context = ClipContext(frames_TCHW=FRAMES[:num_frames], near=near)
    start, better, spent = refined(predictor, context, 3)
    assert spent == 3
    decode_file = predictor.decode_file
    assert cost(better, context, decode_file) < cost(start, context, decode_file)
    assert better.step_indices == start.step_indices
    for name in ("motion", "sway", "gate"):
        np.testing.assert_array_equal(better.symbols[name], start.symbols[name])


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
