"""Random crops of pairs of clips, each batch a pure function of seed and step.

A sample is two 8-frame clips at the same place of one video, 8 to 24 frames apart and in either
order, so that coding one against the other can be trained. Stills become clips through a synthetic
camera that pans and zooms.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hypernet.decoders.spectrum import CLIP_FRAMES
from hypernet.training.frame_cache import CachedClip, FrameCache

SCALES = (1.0, 1.0, 1.0, 1.5, 2.0)
DISTANCES = (1, 1, 1, 1, 2, 2, 3)
"""Clips between the first frames of a pair."""
MIN_WHOLE = 0.75
"""Least share of a side that counts as the whole frame."""
MAX_PAN = 5.0
"""Fastest synthetic camera, pixels per frame."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Pairs of clips.

    Attributes:
        frames: ``(pairs, 2, 8, 3, crop, crop)`` uint8.
        offset: ``(pairs,)`` frames from the middle of the second clip to the nearest frame of the
            first, negative if that is earlier.
    """

    frames: Tensor
    offset: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """What a sample shows of its video.

    Attributes:
        height: of a sample in pixels.
        width: of a sample in pixels.
        whole_frame: most of the frame, resized whatever its aspect; else a crop.
        distances: between the first frames of a pair, in clips, drawn alike.
    """

    height: int
    width: int
    whole_frame: bool = False
    distances: tuple[int, ...] = DISTANCES


class PairSampler:
    """Draws batches of clip pairs.

    Args:
        cache: usable clips.
        sampling: what a sample shows.
        pairs: pairs per batch.
        seed: fixes every batch.
    """

    def __init__(self, cache: FrameCache, *, sampling: Sampling, pairs: int, seed: int) -> None:
        self._cache = cache
        self._sampling = sampling
        self._pairs = pairs
        self._seed = seed
        counts = Counter(clip.prefix for clip in cache.clips)
        # Square root of the group size: large groups of similar clips count less, rare ones more.
        weights = np.array([counts[clip.prefix] ** -0.5 for clip in cache.clips])
        self._weights = weights / weights.sum()

    def batch(self, step: int) -> Batch:
        """The pairs of a step."""
        rng = np.random.default_rng((self._seed, step))
        chosen = rng.choice(len(self._cache.clips), self._pairs, p=self._weights)
        pairs = [self._pair(self._cache.clips[index], rng) for index in chosen]
        return Batch(
            frames=torch.stack([frames for frames, _ in pairs]),
            offset=torch.tensor([offset for _, offset in pairs]),
        )

    def _pair(self, clip: CachedClip, rng: np.random.Generator) -> tuple[Tensor, float]:
        frames = self._cache.frames(clip)
        size = (self._sampling.height, self._sampling.width)
        area = self._area(clip, rng)
        distance = CLIP_FRAMES
        if clip.frames == 1:
            pair = _camera(frames[0], area, rng)
        else:
            chosen = CLIP_FRAMES * int(rng.choice(self._sampling.distances))
            distance = min(chosen, clip.frames - CLIP_FRAMES)
            pair = _excerpt(frames, area, distance, rng)
        if area != size:
            pair = F.interpolate(pair, size=size, mode="bilinear", antialias=True)
        if rng.random() < 0.5:
            pair = pair.flip(-1)
        if rng.random() < 0.3:
            pair = pair.flip(0)
        pair = pair.view(2, CLIP_FRAMES, *pair.shape[1:])
        offset = (CLIP_FRAMES - 1) / 2 - distance
        return (pair.flip(0), -offset) if rng.random() < 0.5 else (pair, offset)

    def _area(self, clip: CachedClip, rng: np.random.Generator) -> tuple[int, int]:
        """Height and width of what is shown, in pixels of the source."""
        if self._sampling.whole_frame:
            share = rng.uniform(MIN_WHOLE, 1)
            return int(clip.height * share), int(clip.width * share)
        height, width = self._sampling.height, self._sampling.width
        scale = min(rng.choice(SCALES), clip.height / height, clip.width / width)
        return int(height * scale), int(width * scale)


def _excerpt(
    frames: NDArray[np.uint8], area: tuple[int, int], distance: int, rng: np.random.Generator
) -> Tensor:
    start = rng.integers(frames.shape[0] - distance - CLIP_FRAMES + 1)
    top = rng.integers(frames.shape[1] - area[0] + 1)
    left = rng.integers(frames.shape[2] - area[1] + 1)
    place = np.s_[top : top + area[0], left : left + area[1]]
    clips = [frames[s : s + CLIP_FRAMES, *place] for s in (start, start + distance)]
    return torch.from_numpy(np.concatenate(clips)).permute(0, 3, 1, 2)


def _camera(still: NDArray[np.uint8], area: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """16 frames of a camera moving over a still at constant speed."""
    times = torch.arange(2 * CLIP_FRAMES) - (CLIP_FRAMES - 0.5)
    height, width = still.shape[:2]
    high, wide = area
    zoom = torch.exp(times * float(rng.normal(0, 0.006)))
    speed = rng.uniform(0, MAX_PAN) * rng.random()
    angle = rng.uniform(0, 2 * np.pi)
    centre_x = rng.uniform(wide / 2, width - wide / 2) + times * speed * float(np.cos(angle))
    centre_y = rng.uniform(high / 2, height - high / 2) + times * speed * float(np.sin(angle))
    theta = torch.zeros(2 * CLIP_FRAMES, 2, 3)
    theta[:, 0, 0] = zoom * (wide / width)
    theta[:, 1, 1] = zoom * (high / height)
    theta[:, 0, 2] = centre_x * (2 / width) - 1
    theta[:, 1, 2] = centre_y * (2 / height) - 1
    where = F.affine_grid(theta, [2 * CLIP_FRAMES, 3, high, wide], align_corners=False)
    image = torch.tensor(still).permute(2, 0, 1)[None].float()
    views = F.grid_sample(
        image.expand(2 * CLIP_FRAMES, -1, -1, -1),
        where,
        padding_mode="reflection",
        align_corners=False,
    )
    return views.round().clamp(0, 255).to(torch.uint8)


class Prefetcher:
    """Batches ahead of time on one thread; counts the seconds the caller waited."""

    def __init__(self, sampler: PairSampler, steps: Sequence[int]) -> None:
        self.waited_seconds = 0.0
        self._queue: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=3)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._fill, args=(sampler, steps), daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Batch]:
        while True:
            begun = time.perf_counter()
            item = self._queue.get()
            self.waited_seconds += time.perf_counter() - begun
            if isinstance(item, BaseException):
                if isinstance(item, StopIteration):
                    return
                raise item
            yield item

    def close(self) -> None:
        """Stop the thread and wait for it."""
        self._stopped.set()
        while self._thread.is_alive():
            while not self._queue.empty():
                self._queue.get_nowait()
            self._thread.join(timeout=0.05)

    def _fill(self, sampler: PairSampler, steps: Sequence[int]) -> None:
        try:
            for step in steps:
                if self._stopped.is_set():
                    return
                self._queue.put(sampler.batch(step))
            self._queue.put(StopIteration())
        except Exception as error:  # handed to the consumer, which raises it
            self._queue.put(error)
