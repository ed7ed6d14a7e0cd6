"""NeRV-Enc and TeCoNeRV from a video to a stream and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hypernet.bitstream.segment import decode_segment
from hypernet.codec import encode_file
from hypernet.decoding import open_stream
from hypernet.plan import EncodeSettings
from hypernet.segment_decoder import SegmentDecoder
from tests.clips import make_clip

REFERENCES = {"teconerv": (None, 0, 1), "nerv-enc": (None, None, None)}
PUBLISHED = list(REFERENCES)


def _settings(preset: str, quality: int = 50) -> EncodeSettings:
    return EncodeSettings(preset=preset, device="cpu", quality=quality)


@pytest.mark.parametrize("preset", PUBLISHED)
def test_clips_are_coded_as_published(tmp_path: Path, preset: str) -> None:
    source, output = tmp_path / "clip.mkv", tmp_path / "clip.nrv"
    make_clip(source, num_frames=19, size=(150, 70))
    result = encode_file(source, output, _settings(preset))
    assert (result.decoder, result.refinement_steps, result.frames) == ("hyponet", 0, 19)
    assert result.decode_file is not None
    with open_stream(output) as opened:
        decoder = SegmentDecoder(opened.header)
        segment = decode_segment(opened.reader.segment(0), decoder.specs_of, coding=decoder.coding)
        assert tuple(clip.reference for clip in segment.clips) == REFERENCES[preset]
        assert [clip.num_frames for clip in segment.clips] == [8, 8, 3]
        frames = [frame.rgb_HWC for frame in opened.frames()]
        for number in (0, 8, 18):
            apart = np.abs(opened.frame(number).rgb_HWC.astype(int) - frames[number])
            assert int(apart.max()) <= 1


@pytest.mark.parametrize("preset", PUBLISHED)
@pytest.mark.parametrize(("num_frames", "size"), [(1, (6, 4)), (7, (131, 33)), (9, (16, 130))])
def test_clips_of_any_length_and_size(
    tmp_path: Path, preset: str, num_frames: int, size: tuple[int, int]
) -> None:
    source = tmp_path / "clip.mkv"
    make_clip(source, num_frames=num_frames, size=size, pix_fmt="yuv444p")
    result = encode_file(source, tmp_path / "clip.nrv", _settings(preset))
    assert (result.frames, result.width, result.height) == (num_frames, *size)


@pytest.mark.parametrize("preset", PUBLISHED)
def test_higher_quality_takes_more_bytes(tmp_path: Path, preset: str) -> None:
    source = tmp_path / "clip.mkv"
    make_clip(source, num_frames=8, size=(64, 48))
    sizes = [
        encode_file(source, tmp_path / f"{q}.nrv", _settings(preset, q)).stream_bytes
        for q in (1, 50, 100)
    ]
    assert sizes == sorted(set(sizes))
