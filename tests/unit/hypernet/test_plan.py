from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from hypernet.bitstream.header import pack_header, unpack_header
from hypernet.errors import InvalidSettings, UnreadableVideo
from hypernet.plan import EncodeSettings, Plan, make_plan
from hypernet.presets import PRESETS
from hypernet.video.colour import Colour
from hypernet.video.probe import VideoInfo, probe
from hypernet.video.segments import SegmentRange, plan_segments
from tests.clips import Sound, Tags, make_clip, moving

DEBUG = EncodeSettings(preset="debug")
PLAN = Plan(
    info=VideoInfo(
        width=720,
        height=577,
        time_base=Fraction(1001, 30000),
        frame_rate=Fraction(30000, 1001),
        rotation=90,
        pixel_aspect=Fraction(16, 11),
        colour=Colour(primaries=1, transfer=13, matrix=5, full_range=True),
        bit_depth=10,
        pixel_format="yuv420p10le",
        estimated_frames=70,
        duration_seconds=Fraction(7, 3),
        has_audio=True,
    ),
    segments=(
        SegmentRange(first_frame=0, num_frames=64, first_pts=-3),
        SegmentRange(first_frame=64, num_frames=6, first_pts=90, seekable=False),
    ),
    decoder=1,
    decoder_config=(1, 2, 3),
    warnings=("70 frames of the source could be read",),
)


@pytest.mark.parametrize(
    "plan",
    [
        PLAN,
        replace(PLAN, info=VideoInfo(width=1, height=1, time_base=Fraction(1), frame_rate=None)),
    ],
)
def test_plans_survive_json(plan: Plan) -> None:
    text = plan.to_json()
    assert json.loads(text)["segments"][0]["num_frames"] == 64
    assert Plan.from_json(text) == plan
    assert Plan.from_json(text).to_json() == text


def test_the_header_says_what_the_source_is() -> None:
    header = unpack_header(pack_header(PLAN.header()))
    assert (header.width, header.height, header.num_frames) == (720, 577, 70)
    assert Fraction(header.time_base_num, header.time_base_den) == PLAN.info.time_base
    assert Fraction(header.pixel_aspect_num, header.pixel_aspect_den) == PLAN.info.pixel_aspect
    assert (header.rotation, header.bit_depth, header.full_range) == (90, 10, True)
    tags = (header.colour_primaries, header.colour_transfer, header.colour_matrix)
    assert tags == (1, 13, 5)
    assert (header.decoder, header.decoder_config) == (1, (1, 2, 3))


def test_a_plan_is_made_of_the_file(tmp_path: Path) -> None:
    clip = make_clip(
        tmp_path / "clip.mp4",
        frames=[*moving(6, (48, 32)), *moving(5, (48, 32), scene=3)],
        rotation=90,
        tags=Tags(primaries=1, transfer=1, matrix=1, range=1),
        audio=[Sound()],
    )
    plan = make_plan(clip, DEBUG)
    assert plan.info == probe(clip)
    assert plan.segments == plan_segments(clip)
    assert [segment.num_frames for segment in plan.segments] == [6, 5]
    assert plan.num_frames == 11
    assert plan.decoder == PRESETS["debug"].decoder
    assert make_plan(clip, DEBUG) == plan


def test_quality_sizes_the_decoder(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", num_frames=24, size=(176, 144))
    low, high = (
        make_plan(clip, EncodeSettings(preset="nerv-s", quality=quality)) for quality in (20, 60)
    )
    assert low.segments == high.segments
    assert low.decoder_config != high.decoder_config


def test_a_missing_video_has_no_plan(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideo, match=r"nothing\.mp4"):
        make_plan(tmp_path / "nothing.mp4", DEBUG)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("preset", "nerv-xxl"),
        ("quality", 0),
        ("quality", 101),
        ("target_psnr_db", 0.0),
        ("target_psnr_db", -3.0),
        ("target_psnr_db", float("nan")),
        ("target_psnr_db", float("inf")),
        ("steps", 0),
        ("budget_seconds", 0.0),
        ("budget_seconds", -1.0),
        ("budget_seconds", float("nan")),
        ("seed", -1),
        ("seed", 2**63),
        ("device", "tpu"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(option: str, value: Any) -> None:
    word = option.removesuffix("_db").removesuffix("_seconds").replace("_psnr", " PSNR")
    with pytest.raises(InvalidSettings, match=word):
        EncodeSettings(**{option: value})


def test_settings_at_their_bounds_are_accepted() -> None:
    EncodeSettings(quality=1, steps=1, budget_seconds=0.01, target_psnr_db=200.0, seed=2**63 - 1)
    EncodeSettings(quality=100, seed=0)


def test_devices() -> None:
    assert EncodeSettings(device="cpu").torch_device() == torch.device("cpu")
    usual = "cuda" if torch.cuda.is_available() else "cpu"
    assert EncodeSettings().torch_device().type == usual


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="no CUDA device here; use --device cpu"):
        EncodeSettings(device="cuda").torch_device()
