from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest
import torch

from hypernet.bitstream.segment import decode_segment
from hypernet.codec import encode_file
from hypernet.decoders.coding_order import Step, nearest_frame
from hypernet.decoding import open_stream
from hypernet.plan import EncodeSettings
from hypernet.rendering import Renderer
from tests.clips import make_clip


@pytest.fixture(name="renderer")
def _renderer(tmp_path: Path) -> Renderer:
    """Three clips: the one in the middle is the reference of both others."""
    make_clip(tmp_path / "a.mkv", num_frames=24, size=(98, 58))
    settings = EncodeSettings(preset="fast", device="cpu", quality=40)
    encode_file(tmp_path / "a.mkv", tmp_path / "a.nrv", settings)
    with open_stream(tmp_path / "a.nrv") as stream:
        segment = decode_segment(
            stream.reader.segment(0), stream.segments.specs_of, coding=stream.segments.coding
        )
        return Renderer(stream.segments, segment.clips)


def test_a_frame_that_is_painted_alone_is_that_of_the_clip(renderer: Renderer) -> None:
    for clip in (0, 2):
        step = Step(clip=clip, reference=1)
        frame, _ = nearest_frame(step, 8)
        alone = renderer.nearest(step)
        torch.testing.assert_close(alone, renderer.rendered(1)[frame], atol=1e-4, rtol=0)


def test_no_more_networks_are_kept_than_asked_for(renderer: Renderer) -> None:
    networks = []
    for clip in (0, 1, 2):
        renderer.rendered(clip)
        networks.append(weakref.ref(renderer._bound(clip)))
    assert [network() is None for network in networks] == [True, True, False]


def test_a_renderer_that_is_done_holds_no_networks(renderer: Renderer) -> None:
    another = Renderer(renderer._decoders, renderer._clips)
    another.rendered(1)
    network = weakref.ref(another._bound(1))
    gc.disable()
    try:
        del another
        assert network() is None
    finally:
        gc.enable()
