from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

import tests.golden
from hypernet.crop import Crop
from hypernet.decoders import Decoder
from hypernet.decoders.together import bind_together
from hypernet.decoding import NrvStream, open_stream
from hypernet.errors import InvalidStream, OutOfDeviceMemory
from hypernet.parallel_decoding import FrameRenderer, PendingFrames, decode_symbols
from hypernet.sequential_decoding import segment_frames

GOLDEN = Path(tests.golden.__file__).parent
NAMES = ("codec-debug", "codec-fast", "codec-nerv-s")


def one_by_one(stream: NrvStream, segment: int = 0) -> Tensor:
    frames = segment_frames(stream.segments, stream.reader.segment(segment))
    return torch.stack([torch.from_numpy(f.rgb_HWC).permute(2, 0, 1) for f in frames])


def pending(name: str, frames: list[int] | None = None) -> tuple[PendingFrames, Tensor]:
    """Frames to be rendered, all by default, and what they must look like."""
    with open_stream(GOLDEN / f"{name}.nrv") as stream:
        wanted = one_by_one(stream)
        frames = list(range(len(wanted))) if frames is None else frames
        symbols = decode_symbols(stream.segments, stream.reader.segment(0), frames)
        return symbols, wanted[frames]


def distance(one: Tensor, other: Tensor) -> int:
    assert one.shape == other.shape
    return int((one.int() - other.int()).abs().max())


def test_streams_of_different_decoders_and_sizes_in_one_batch() -> None:
    batch = [pending(name) for name in (*NAMES, *NAMES)]
    rendered = FrameRenderer().render([symbols for symbols, _ in batch])
    for frames, (_, wanted) in zip(rendered, batch, strict=True):
        assert frames.dtype == torch.uint8
        assert distance(frames, wanted) <= 1


@pytest.mark.parametrize("name", NAMES)
def test_frames_come_in_the_order_and_as_often_as_they_are_asked_for(name: str) -> None:
    symbols, wanted = pending(name, [2, 0, 2, 1])
    (frames,) = FrameRenderer().render([symbols])
    assert distance(frames, wanted) <= 1
    assert torch.equal(frames[0], frames[2])


def test_only_clips_that_are_needed_have_symbols() -> None:
    with open_stream(GOLDEN / "codec-fast.nrv") as stream:
        payload = stream.reader.segment(0)
        every = decode_symbols(stream.segments, payload, range(len(one_by_one(stream))))
        keys = [n for n, clip in enumerate(every.clips) if clip.reference is None]
        start = sum(clip.num_frames for clip in every.clips[: keys[0]])
        one = decode_symbols(stream.segments, payload, [start])
    assert len(every.symbols) == len(every.clips) > 1
    assert list(one.symbols) == keys


def test_pending_frames_pass_between_processes() -> None:
    symbols, wanted = pending("codec-fast")
    (frames,) = FrameRenderer().render([pickle.loads(pickle.dumps(symbols))])  # noqa: S301 - ours
    assert distance(frames, wanted) <= 1


@pytest.mark.parametrize("name", NAMES)
def test_a_crop_is_that_part_of_the_whole_frame(name: str) -> None:
    symbols, wanted = pending(name)
    crop = Crop(top=5, left=7, height=11, width=17)
    (frames,) = FrameRenderer().render([symbols], crop=crop)
    assert distance(frames, crop.of(wanted)) <= 1


def test_frames_are_resized_after_cropping() -> None:
    symbols, wanted = pending("codec-debug")
    crop = Crop(top=2, left=4, height=12, width=16)
    (frames,) = FrameRenderer().render([symbols], crop=crop, size=(6, 8))
    halved = torch.nn.functional.interpolate(
        crop.of(wanted).float(), (6, 8), mode="bilinear", antialias=True
    )
    assert frames.shape[1:] == (3, 6, 8)
    assert float((frames - halved).abs().max()) <= 1.5


@pytest.mark.parametrize(
    "crop",
    [
        Crop(top=0, left=0, height=9999, width=1),
        Crop(top=-1, left=0, height=4, width=4),
        Crop(top=0, left=0, height=0, width=4),
    ],
)
def test_a_crop_outside_of_the_frame_is_refused(crop: Crop) -> None:
    symbols, _ = pending("codec-debug")
    with pytest.raises(ValueError, match="does not lie in a frame"):
        FrameRenderer().render([symbols], crop=crop)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_close(name: str) -> None:
    symbols, wanted = pending(name)
    (frames,) = FrameRenderer(dtype=torch.bfloat16).render([symbols])
    assert distance(frames, wanted) <= 8
    assert float((frames.float() - wanted.float()).abs().mean()) < 1


def test_a_small_memory_limit_changes_nothing() -> None:
    symbols, wanted = pending("codec-fast")
    (frames,) = FrameRenderer(max_bytes=1).render([symbols])
    assert distance(frames, wanted) <= 1


def test_nothing_to_render() -> None:
    assert FrameRenderer().render([]) == []


def test_a_missing_frame_and_a_damaged_payload_are_named() -> None:
    with open_stream(GOLDEN / "codec-debug.nrv") as stream:
        payload = stream.reader.segment(0)
        with pytest.raises(IndexError, match="frame 99"):
            decode_symbols(stream.segments, payload, [99])
        with pytest.raises(InvalidStream):
            decode_symbols(stream.segments, payload[:-3], [0])


class _SmallDevice:
    """Stands for ``bind_together`` on a device that holds so many frames at once."""

    def __init__(self, frames: int) -> None:
        self.frames, self.largest = frames, 0

    def __call__(
        self,
        decoder: Decoder,
        weights_B: Mapping[str, Tensor],
        dtype: torch.dtype,
        only_B1: Tensor | None,
    ) -> Callable[[Tensor], Tensor]:
        render = bind_together(decoder, weights_B, dtype, only_B1)

        def limited(times_BN: Tensor) -> Tensor:
            batch = len(next(iter(weights_B.values())))
            if batch * times_BN.shape[1] > self.frames:
                raise torch.OutOfMemoryError("no more")
            self.largest = max(self.largest, batch * times_BN.shape[1])
            return render(times_BN)

        return limited


@pytest.mark.usefixtures("without_kernels")
@pytest.mark.parametrize("fitting", [1, 3])
def test_batches_are_halved_until_they_fit(monkeypatch: pytest.MonkeyPatch, fitting: int) -> None:
    batch = [pending("codec-fast") for _ in range(3)]
    device = _SmallDevice(fitting)
    monkeypatch.setattr("hypernet.parallel_decoding.bind_together", device)
    rendered = FrameRenderer().render([symbols for symbols, _ in batch])
    assert device.largest == fitting
    for frames, (_, wanted) in zip(rendered, batch, strict=True):
        assert distance(frames, wanted) <= 1


def test_a_device_that_cannot_hold_one_frame_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    symbols, _ = pending("codec-debug")
    monkeypatch.setattr("hypernet.parallel_decoding.bind_together", _SmallDevice(0))
    with pytest.raises(OutOfDeviceMemory, match="choose --device cpu"):
        FrameRenderer().render([symbols])


def test_what_is_rendered_may_be_changed_and_learned_from() -> None:
    symbols, _ = pending("codec-debug", [0])
    (frames,) = FrameRenderer().render([symbols])
    assert not frames.is_inference()
