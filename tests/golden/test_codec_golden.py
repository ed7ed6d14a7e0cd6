"""Whole streams of real presets: their symbols exactly, their pixels within the stated bound."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hypernet.bitstream.reader import StreamReader
from hypernet.bitstream.sources import BytesSource
from hypernet.codec import encode_file
from hypernet.decoding import NrvStream
from hypernet.plan import EncodeSettings
from hypernet.segment_decoder import SegmentDecoder
from tests.clips import make_clip
from tests.golden.golden import FOLDER, Facts, check_golden, describe_symbols

PIXEL_BOUND = 1  # of 255: what float32 arithmetic may differ by between machines
SIZE = (33, 26)
TALL = (33, 90)  # enough for two stages between stem and head
SIZES = {"nerv-plus-s": TALL, "srnerv-s": TALL}
NUM_FRAMES = {
    "debug": 3,
    "nerv-s": 3,
    "fast": 27,
    "nerv-plus-s": 3,
    "srnerv-s": 3,
    "nirvana": 11,
    "nerv-enc": 11,
    "teconerv": 19,
}
STEPS = {
    "debug": 20,
    "nerv-s": 150,
    "fast": None,
    "nerv-plus-s": 150,
    "srnerv-s": 150,
    "nirvana": 120,
    "nerv-enc": None,
    "teconerv": None,
}
QUALITY = 100  # so that a clip this small keeps some detail


@pytest.mark.parametrize("preset", STEPS)
def test_golden_streams_keep_their_symbols(preset: str) -> None:
    # Fitting computes in floats, so its bytes may differ between machines.
    check_golden(f"codec-{preset}", partial(encode, preset), describe, pin_encoder=False)
    if os.environ.get("REGENERATE_GOLDEN") == "1":
        np.savez_compressed(frames_path(preset), frames=decode(stream_of(preset)))


@pytest.mark.parametrize("preset", STEPS)
def test_golden_streams_keep_their_pixels(preset: str) -> None:
    check_pixels(preset)


@pytest.mark.usefixtures("without_kernels")
def test_golden_streams_are_the_same_without_a_compiler() -> None:
    check_golden("codec-fast", partial(encode, "fast"), describe, pin_encoder=False)
    check_pixels("fast")


def check_pixels(preset: str) -> None:
    with np.load(frames_path(preset)) as archive:
        expected = archive["frames"]
    decoded = decode(stream_of(preset))
    width, height = SIZES.get(preset, SIZE)
    assert decoded.shape == expected.shape == (NUM_FRAMES[preset], height, width, 3)
    assert np.abs(decoded.astype(int) - expected.astype(int)).max() <= PIXEL_BOUND


def encode(preset: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        clip = make_clip(
            Path(folder, "clip.mkv"),
            num_frames=NUM_FRAMES[preset],
            size=SIZES.get(preset, SIZE),
            pix_fmt="yuv444p",
        )
        output = Path(folder, "clip.nrv")
        settings = EncodeSettings(preset=preset, quality=QUALITY, steps=STEPS[preset], device="cpu")
        encode_file(clip, output, settings)
        return output.read_bytes()


def describe(stream: bytes) -> Facts:
    header = StreamReader(BytesSource(stream)).header
    segments = SegmentDecoder(header)
    return describe_symbols(stream, segments.specs_of, segments.coding)


def decode(stream: bytes) -> NDArray[np.uint8]:
    return np.stack([frame.rgb_HWC for frame in NrvStream(BytesSource(stream)).frames()])


def stream_of(preset: str) -> bytes:
    return (FOLDER / f"codec-{preset}.nrv").read_bytes()


def frames_path(preset: str) -> Path:
    return FOLDER / f"codec-{preset}.npz"
