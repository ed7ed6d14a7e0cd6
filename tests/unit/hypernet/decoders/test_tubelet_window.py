from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypernet.crop import Crop
from hypernet.decoders.tubelet import Tubelet
from hypernet.decoders.tubelet_window import cut_out, reference_window_of, window_of
from hypernet.predictor.initial_kernels import initial_base
from hypernet.weights import ClipShape
from tests.unit.hypernet.predictor.samples import SMALL

CONFIG = SMALL.decoder
SHAPE = ClipShape(frames=8, height=230, width=310)
CROPS = st.tuples(st.integers(0, 200), st.integers(0, 280), st.integers(1, 64), st.integers(1, 64))


@settings(max_examples=12, deadline=None)
@given(CROPS, st.sampled_from([0.0, 1.5, 12.0]), st.booleans(), st.integers(0, 7))
def test_a_window_renders_the_same_pixels(
    place: tuple[int, int, int, int], motion: float, has_reference: bool, time: int
) -> None:
    torch.manual_seed(sum(place))
    decoder = Tubelet(CONFIG, SHAPE, initial_base(CONFIG, torch.Generator().manual_seed(3)))
    weights = {spec.name: torch.randn(spec.shape) * 0.3 for spec in decoder.weight_specs()}
    weights["motion"] = torch.randn(weights["motion"].shape) * motion
    top, left, height, width = place
    crop = Crop(
        top=top,
        left=left,
        height=min(height, SHAPE.height - top),
        width=min(width, SHAPE.width - left),
    )
    window = window_of(decoder, weights["motion"], crop)
    parts = cut_out(weights, window)
    if has_reference:
        weights["reference"] = torch.rand(3, SHAPE.height, SHAPE.width)
        known = reference_window_of(decoder, weights["motion"], crop)
        elsewhere = torch.rand(3, SHAPE.height, SHAPE.width)
        elsewhere[:, known.top : known.bottom, known.left : known.right] = known.of(
            weights["reference"]
        )
        parts["reference"] = window.of(elsewhere)
    times = torch.tensor([float(time)])
    cut = decoder.resized(ClipShape(frames=8, height=window.height, width=window.width))
    whole = crop.of(decoder.render(weights, times))
    part = crop.within(window).of(cut.render(parts, times))
    torch.testing.assert_close(part, whole, atol=2e-4, rtol=0)


def test_a_window_without_motion_is_the_tiles_around_the_crop() -> None:
    decoder = Tubelet(CONFIG, SHAPE)
    crop = Crop(top=100, left=100, height=16, width=16)
    motion = torch.zeros(decoder.weight_specs()[0].shape)
    assert window_of(decoder, motion, crop) == Crop(top=64, left=64, height=128, width=128)
