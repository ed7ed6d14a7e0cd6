from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypernet.crop import Crop
from hypernet.decoders.clip_motion import sways
from hypernet.decoders.tubelet import Tubelet
from hypernet.decoders.tubelet_window import cut_out, reference_window_of, window_of
from hypernet.predictor.cosine_kernels import cosine_kernels
from hypernet.weights import ClipShape
from tests.unit.hypernet.predictor.samples import SMALL

CONFIG = SMALL.decoder
SHAPE = ClipShape(frames=8, height=230, width=310)
TIMES = st.integers(0, 14).map(lambda halves: halves / 2)
CROPS = st.tuples(st.integers(0, 200), st.integers(0, 280), st.integers(1, 64), st.integers(1, 64))


@settings(max_examples=12, deadline=None)
@given(CROPS, st.sampled_from([0.0, 1.5, 12.0]), st.booleans(), TIMES)
def test_a_window_renders_the_same_pixels(
    place: tuple[int, int, int, int], motion: float, has_reference: bool, time: float
) -> None:
    torch.manual_seed(sum(place))
    decoder = Tubelet(CONFIG, SHAPE, cosine_kernels(CONFIG))
    weights = {spec.name: torch.randn(spec.shape) * 0.3 for spec in decoder.weight_specs()}
    for name in ("motion", "sway"):
        weights[name] = torch.randn(weights[name].shape) * motion
    top, left, height, width = place
    crop = Crop(
        top=top,
        left=left,
        height=min(height, SHAPE.height - top),
        width=min(width, SHAPE.width - left),
    )
    window = window_of(decoder, weights, crop)
    parts = cut_out(weights, window)
    if has_reference:
        weights["reference"] = torch.rand(3, SHAPE.height, SHAPE.width)
        known = reference_window_of(decoder, weights, crop)
        elsewhere = torch.rand(3, SHAPE.height, SHAPE.width)
        elsewhere[:, known.top : known.bottom, known.left : known.right] = known.of(
            weights["reference"]
        )
        parts["reference"] = window.of(elsewhere)
    times = torch.tensor([time])
    cut = decoder.resized(ClipShape(frames=8, height=window.height, width=window.width))
    whole = crop.of(decoder.render(weights, times))
    part = crop.within(window).of(cut.render(parts, times))
    torch.testing.assert_close(part, whole, atol=2e-4, rtol=0)


def test_a_window_without_motion_is_the_squares_around_the_crop() -> None:
    decoder = Tubelet(CONFIG, SHAPE)
    crop = Crop(top=100, left=100, height=16, width=16)
    moving = {spec.name: torch.zeros(spec.shape) for spec in decoder.weight_specs()[:2]}
    assert window_of(decoder, moving, crop) == Crop(top=64, left=64, height=96, width=96)


def test_a_window_reaches_as_far_as_a_clip_sways() -> None:
    decoder = Tubelet(CONFIG, SHAPE)
    crop = Crop(top=100, left=140, height=16, width=16)
    moving = {spec.name: torch.zeros(spec.shape) for spec in decoder.weight_specs()[:2]}
    moving["sway"][0] = 100.0
    window = window_of(decoder, moving, crop)
    farthest = 100 * float(sways()[:, 0].abs().max())
    assert window.left <= 140 - farthest
    assert window.right >= 156 + farthest
    assert reference_window_of(decoder, moving, crop).left <= 140 - farthest
