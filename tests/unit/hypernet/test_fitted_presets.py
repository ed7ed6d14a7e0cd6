"""Whole encodings with the fitted presets, where sizes, lengths and budgets are at their ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hypernet.bitstream.segment import decode_segment
from hypernet.codec import encode_file
from hypernet.decoding import NrvStream, open_stream
from hypernet.fitted_presets import NERV_PLUS, NIRVANA
from hypernet.plan import EncodeSettings
from tests.clips import make_clip

PRESETS = ["nerv-plus-s", "srnerv-s", "nirvana"]


def encoded(
    folder: Path, preset: str, frames: int, size: tuple[int, int], **settings: float
) -> Path:
    clip = make_clip(folder / "clip.mkv", num_frames=frames, size=size, pix_fmt="yuv444p")
    chosen = EncodeSettings(preset=preset, device="cpu", **{"steps": 3, **settings})  # type: ignore[arg-type]
    encode_file(clip, folder / "clip.nrv", chosen)
    return folder / "clip.nrv"


def clip_facts(stream: NrvStream) -> list[tuple[int, int | None]]:
    segments = stream.segments
    segment = decode_segment(stream.reader.segment(0), segments.specs_of, coding=segments.coding)
    return [(clip.num_frames, clip.reference) for clip in segment.clips]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("frames", "size"), [(1, (2, 2)), (2, (7, 5)), (9, (41, 3))])
def test_the_smallest_clips_survive(
    preset: str, frames: int, size: tuple[int, int], tmp_path: Path
) -> None:
    with open_stream(encoded(tmp_path, preset, frames, size)) as stream:
        shown = [frame.rgb_HWC.shape for frame in stream.frames()]
    assert shown == [(size[1], size[0], 3)] * frames


@pytest.mark.parametrize("preset", PRESETS)
def test_a_budget_for_no_step_still_gives_a_stream(preset: str, tmp_path: Path) -> None:
    path = encoded(tmp_path, preset, 9, (24, 16), budget_seconds=1e-6)
    with open_stream(path) as stream:
        assert sum(1 for _ in stream.frames()) == 9


def test_groups_are_a_chain_and_any_frame_is_found_alone(tmp_path: Path) -> None:
    path = encoded(tmp_path, "nirvana", 19, (24, 16), steps=12)
    with open_stream(path) as stream:
        assert clip_facts(stream) == [(8, None), (8, 0), (3, 1)]
        together = [frame.rgb_HWC for frame in stream.frames()]
        for number in (18, 0, 9):
            assert np.array_equal(stream.frame(number).rgb_HWC, together[number])


def test_a_segment_of_one_network_is_one_clip(tmp_path: Path) -> None:
    with open_stream(encoded(tmp_path, "srnerv-s", 19, (24, 16))) as stream:
        assert clip_facts(stream) == [(19, None)]


def test_a_family_names_what_it_costs() -> None:
    preset = NERV_PLUS.preset("nerv-plus-x", 3, 0.07)
    assert preset.summary == "NeRV++, at most 3 kMAC/pixel, about 0.07 bpp"
    assert preset.clip_frames is None
    assert NIRVANA.preset("nirvana-x", 3, 0.07).clip_frames == 8
