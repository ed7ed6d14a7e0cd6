"""Many clips of many streams in one batch, as NeRV-Dec proposes (arXiv 2409.19429).

Decoding has two halves, which may run in two processes: ``decode_symbols`` reads integers on a CPU,
``FrameRenderer`` turns them into frames. Clips that others depart from are rendered first, so a
batch takes as many rounds as its longest chain has clips.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernet.bitstream.header import StreamHeader
from hypernet.crop import Crop
from hypernet.decoders import Decoder
from hypernet.decoders.native_tubelet import NativeClip
from hypernet.decoders.together import bind_together
from hypernet.decoders.tubelet import is_native
from hypernet.device_memory import out_of_memory
from hypernet.one_thread_each import one_thread_each
from hypernet.pending import PendingFrames, decode_symbols
from hypernet.rendering import BATCH_BYTES, to_levels
from hypernet.scenes import Job, Scene
from hypernet.segment_decoder import SegmentDecoder

__all__ = ["Crop", "FrameRenderer", "PendingFrames", "decode_symbols"]

CPU_PASS_PIXELS = 1 << 17
"""Frames that a CPU renders in one pass have together at most so many pixels: what lies between
two layers then stays in its cache. A larger frame is rendered alone."""
CUDA_BATCH_BYTES = 4 << 30


def gains_from_batches(segments: SegmentDecoder) -> bool:
    """Whether the frames of one segment are rendered faster together than one by one."""
    pixels = segments.header.height * segments.header.width
    return segments.device.type == "cuda" or 2 * pixels <= CPU_PASS_PIXELS


class FrameRenderer:
    """Renders pending frames of any streams, as many at once as fit.

    Args:
        device: where to render.
        dtype: of the convolutions; bfloat16 is faster where there is hardware for it, and within
            a few 8-bit levels of float32.
        max_bytes: of activations at once; by default what suits the device.
    """

    def __init__(
        self,
        device: torch.device | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        max_bytes: int | None = None,
    ) -> None:
        self._device, self._dtype = device or torch.device("cpu"), dtype
        default = BATCH_BYTES if self._device.type == "cpu" else CUDA_BATCH_BYTES
        self._max_bytes = max_bytes or default
        self._segment_decoder = functools.lru_cache(maxsize=64)(self._make_segment_decoder)

    def render(
        self,
        pending: Sequence[PendingFrames],
        *,
        crop: Crop | None = None,
        size: tuple[int, int] | None = None,
    ) -> list[Tensor]:
        """8-bit RGB frames ``(T, 3, H, W)`` of each pending segment, on the device.

        Args:
            pending: streams, sizes and decoders may differ.
            crop: the part of every frame that is wanted; the rest is not returned.
            size: height and width that frames are then resized to.

        Raises:
            ValueError: the crop lies outside of a frame.
            MissingDecodeFile: a stream needs one that is not installed.
            OutOfDeviceMemory: not even one frame of one clip fits.
        """
        scenes = [Scene(each, self._decoders_of(each.header), crop) for each in pending]
        frames = _Output(scenes, size, self._device)
        for depth in range(max((scene.depth for scene in scenes), default=-1) + 1):
            jobs = [job for scene in scenes for job in scene.jobs(depth)]
            self._render_all(list(self._batches(jobs)), frames)
        return frames.tensors

    def _render_all(self, batches: Sequence[list[Job]], frames: _Output) -> None:
        """Batches that do not need each other; on a CPU one in each thread."""
        threads = min(len(batches), torch.get_num_threads())
        if self._device.type != "cpu" or threads < 2:
            for batch in batches:
                self._render(batch, self._at_once(batch), frames)
            return
        with one_thread_each(threads) as pool:
            for done in [
                pool.submit(self._render, batch, self._at_once(batch), frames) for batch in batches
            ]:
                done.result()

    def _decoders_of(self, header: StreamHeader) -> SegmentDecoder:
        seen = ("width", "height", "decoder", "decoder_config", "decode_file")
        return self._segment_decoder(replace(_BLANK, **{n: getattr(header, n) for n in seen}))

    def _make_segment_decoder(self, header: StreamHeader) -> SegmentDecoder:
        return SegmentDecoder(header, device=self._device)

    def _batches(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        """Jobs that can be rendered together, and fit."""
        alike: defaultdict[tuple[object, ...], list[Job]] = defaultdict(list)
        for job in jobs:
            if is_native(job.decoder):
                yield [job]
            else:
                alike[job.kind].append(job)
        for group in alike.values():
            size = max(1, self._frames_at_once(group[0].decoder) // len(group[0].times))
            if self._device.type == "cpu":
                size = max(1, CPU_PASS_PIXELS // group[0].pixels)
            for start in range(0, len(group), size):
                yield group[start : start + size]

    def _frames_at_once(self, decoder: Decoder) -> int:
        return max(1, self._max_bytes // decoder.activation_bytes())

    def _at_once(self, batch: Sequence[Job]) -> int:
        """Frames of each clip in one pass."""
        if self._device.type == "cpu":
            return max(1, CPU_PASS_PIXELS // (len(batch) * batch[0].pixels))
        return max(1, self._frames_at_once(batch[0].decoder) // len(batch))

    def _render(self, batch: Sequence[Job], at_once: int, frames: _Output) -> None:
        """A batch of clips; half of it at a time where the device's memory does not suffice."""
        if is_native(batch[0].decoder):
            with torch.inference_mode():
                self._draw(batch[0], frames)
            return
        try:
            # Inference is inside: what is returned may be changed, and saved for gradients.
            with torch.inference_mode():
                for positions, rendered_BNCHW in self._passes(batch, at_once):
                    frames.keep(batch, positions, rendered_BNCHW)
            return
        except torch.OutOfMemoryError as error:
            if len(batch) == at_once == 1:
                raise out_of_memory(self._device) from error
        if len(batch) > 1:
            middle = len(batch) // 2
            self._render(batch[:middle], at_once, frames)
            self._render(batch[middle:], at_once, frames)
        else:
            self._render(batch, at_once // 2, frames)

    def _draw(self, job: Job, frames: _Output) -> None:
        """A clip by C kernels, which write a frame where it belongs."""
        clip = job.native()
        for time in job.times:
            frames.draw(job, time, clip)

    def _passes(self, batch: Sequence[Job], at_once: int) -> Iterator[tuple[range, Tensor]]:
        """Positions among the wanted frames of each clip, and these frames."""
        weights = [job.weights(self._device) for job in batch]
        stacked = {name: torch.stack([each[name] for each in weights]) for name in weights[0]}
        del weights
        times_BN = torch.tensor([job.times for job in batch], dtype=torch.float32)
        times_BN = times_BN.to(self._device)
        only = times_BN if times_BN.shape[1] == 1 else None
        render = bind_together(batch[0].decoder, stacked, self._dtype, only)
        for start in range(0, times_BN.shape[1], at_once):
            part = times_BN[:, start : start + at_once]
            yield range(start, start + part.shape[1]), render(part)


class _Output:
    """Collects frames where they belong."""

    def __init__(
        self,
        scenes: Sequence[Scene],
        size: tuple[int, int] | None,
        device: torch.device,
    ) -> None:
        self._size = size
        self._place = {id(scene): i for i, scene in enumerate(scenes)}
        self.tensors = [
            torch.empty(
                (len(scene.pending.frames), 3, *(size or (scene.crop.height, scene.crop.width))),
                dtype=torch.uint8,
                device=device,
            )
            for scene in scenes
        ]

    def keep(self, batch: Sequence[Job], positions: range, frames_BNCHW: Tensor) -> None:
        """Put rendered frames where they are wanted."""
        for job, frames in zip(batch, frames_BNCHW, strict=True):
            for position, frame in zip(positions, frames, strict=True):
                self._keep(job, (job.clip, job.times[position]), frame)

    def draw(self, job: Job, time: int, clip: NativeClip) -> None:
        """Have a frame rendered straight to where it is wanted."""
        place = (job.clip, time)
        wanted = job.scene.outputs.get(place, ())
        if self._size is not None or place in job.scene.references:
            self._keep(job, place, clip(torch.tensor([float(time)]))[0])
        elif wanted:
            frames = self.tensors[self._place[id(job.scene)]]
            clip.draw(float(time), job.scene.crop.within(job.window), frames[wanted[0]])
            for position in wanted[1:]:
                frames[position] = frames[wanted[0]]

    def _keep(self, job: Job, place: tuple[int, int], frame_CHW: Tensor) -> None:
        scene = job.scene
        if place in scene.references:
            scene.nearest[place] = frame_CHW.clone()
        wanted = scene.outputs.get(place, ())
        if not wanted:
            return
        finished = self._finished(scene.crop.within(job.window).of(frame_CHW))
        for position in wanted:
            self.tensors[self._place[id(scene)]][position] = finished

    def _finished(self, frame_CHW: Tensor) -> Tensor:
        if self._size is not None:
            frame_CHW = F.interpolate(
                frame_CHW[None], self._size, mode="bilinear", antialias=True, align_corners=False
            )[0]
        return to_levels(frame_CHW)


_BLANK = StreamHeader(
    width=1,
    height=1,
    num_frames=1,
    time_base_num=1,
    time_base_den=1,
    colour_primaries=2,
    colour_transfer=2,
    colour_matrix=2,
    full_range=False,
    bit_depth=8,
    decoder=0,
)
