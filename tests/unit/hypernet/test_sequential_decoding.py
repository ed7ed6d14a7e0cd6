from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hypernet.bitstream.sources import BytesSource
from hypernet.codec import encode_file
from hypernet.decoding import NrvStream
from hypernet.errors import InvalidStream
from hypernet.plan import EncodeSettings
from tests.clips import make_clip

FRAMES = 104


@pytest.fixture(name="stream", scope="module")
def _stream(tmp_path_factory: pytest.TempPathFactory) -> NrvStream:
    """Two segments, of seven clips and of six."""
    folder = tmp_path_factory.mktemp("sequential")
    make_clip(folder / "a.mkv", num_frames=FRAMES, size=(98, 58))
    settings = EncodeSettings(preset="fast", device="cpu", quality=30)
    encode_file(folder / "a.mkv", folder / "a.nrv", settings)
    stream = NrvStream(BytesSource((folder / "a.nrv").read_bytes()))
    assert [entry.num_frames for entry in stream.reader.index.segments] == [56, 48]
    return stream


@pytest.fixture(autouse=True)
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames that are rendered one by one, on a machine with two cores."""
    monkeypatch.setattr("hypernet.sequential_decoding.gains_from_batches", lambda _segments: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)


@pytest.fixture(name="in_turn")
def _in_turn(stream: NrvStream, monkeypatch: pytest.MonkeyPatch) -> NDArray[np.uint8]:
    with monkeypatch.context() as patch:
        patch.setattr("hypernet.one_thread_each.PIXELS_AT_ONCE", 0)
        return pictures(stream.frames())


def pictures(frames: Iterator[object]) -> NDArray[np.uint8]:
    return np.stack([frame.rgb_HWC for frame in frames])  # type: ignore[attr-defined]


def decoding_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("ThreadPoolExecutor")]


@pytest.mark.parametrize(("start", "stop"), [(0, FRAMES), (5, 20), (54, 66), (7, 9)])
def test_threads_give_the_same_frames(
    stream: NrvStream, in_turn: NDArray[np.uint8], start: int, stop: int
) -> None:
    frames = list(stream.frames(start, stop))
    assert [frame.pts for frame in frames] == [40 * number for number in range(start, stop)]
    difference = pictures(iter(frames)).astype(int) - in_turn[start:stop]
    assert np.abs(difference).max() <= 1


def test_a_damaged_segment_is_told_after_the_frames_before_it(
    stream: NrvStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stream.reader.segment
    monkeypatch.setattr(
        stream.reader, "segment", lambda number: whole(number)[: -8 if number else None]
    )
    frames = stream.frames()
    assert len([next(frames) for _ in range(56)]) == 56
    with pytest.raises(InvalidStream):
        next(frames)
    assert decoding_threads() == []


def test_no_thread_goes_on_when_nobody_takes_more(stream: NrvStream) -> None:
    frames = stream.frames()
    next(frames)
    assert decoding_threads() != []
    frames.close()  # type: ignore[attr-defined]
    assert decoding_threads() == []


def test_a_single_frame_starts_no_threads(stream: NrvStream, in_turn: NDArray[np.uint8]) -> None:
    before = threading.active_count()
    frames = stream.frames(30, 31)
    assert np.array_equal(next(frames).rgb_HWC, in_turn[30])
    assert threading.active_count() == before
