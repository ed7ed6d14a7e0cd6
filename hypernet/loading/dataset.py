"""Clips of many streams as PyTorch datasets: by number, or one after the other."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from hypernet.bitstream.header import StreamHeader
from hypernet.errors import InvalidSettings, InvalidStream
from hypernet.loading.catalogue import StreamsFrom, find_streams
from hypernet.loading.clip_choice import ClipOrder, Clips, choose_clips
from hypernet.loading.clip_reader import ClipRequest, PendingClips, read_pending, render_clips
from hypernet.loading.labels import LabelsFrom, find_labels
from hypernet.loading.range_cache import RangeCache
from hypernet.loading.samples import Sample
from hypernet.loading.stream_pool import DEFAULT_OPEN, DamagedStream, StreamPool
from hypernet.parallel_decoding import Crop, FrameRenderer

DEFAULT_MEMORY_BYTES = 256 << 20
FLOAT, UINT8 = torch.float32, torch.uint8

_log = logging.getLogger(__name__)


class NrvDataset(Dataset[Sample]):
    """Clips of a set of ``.nrv`` streams, by number; works in the workers of any ``DataLoader``.

    Nothing but the number and place of the streams is known before a clip is asked for (unless
    ``clips`` is ``"all"``, which reads the front of each). A stream that is shorter than a clip
    repeats its last frame.

    Args:
        streams: a folder, a list of paths, or ``s3://bucket/prefix``.
        frames: of a clip.
        stride: from one frame of a clip to the next; 2 leaves out every other frame.
        clips: so many random clips of every stream in an epoch, ``"all"`` (one after the other), or
            pairs of (number of a stream, first frame).
        labels: a CSV file with columns ``stream`` and ``label``, or a function of the stream's
            path or address.
        crop: part of every frame; tiles outside are not decoded where the decoder has tiles.
        size: (height, width) that frames are scaled to.
        dtype: ``torch.uint8``, or ``torch.float32`` in 0 to 1.
        seed: fixes which clips are taken, by epoch.
        damaged: ``"raise"``, or ``"skip"``: take the next clip of another stream, remember the
            stream and its reason in ``damaged_streams``, and log a warning.
        cache: folder for what is read from S3.
        cache_bytes: bound of that folder.
        max_open: streams open at a time in one process.
        memory_bytes: bound of what rendering takes beside its result.
        arithmetic: of convolutions: ``torch.float32``, or ``torch.bfloat16``, which is faster where
            there is hardware for it, and within a few 8-bit levels.

    Attributes:
        names: path or address of every stream.
        classes: what labels stand for if they are not numbers.

    Raises:
        InvalidSettings: no streams, missing labels, or settings out of range.
        UnreadableInput: the folder or bucket cannot be read.
    """

    def __init__(
        self,
        streams: StreamsFrom,
        *,
        frames: int = 8,
        stride: int = 1,
        clips: Clips = 1,
        labels: LabelsFrom | None = None,
        crop: Crop | None = None,
        size: tuple[int, int] | None = None,
        dtype: torch.dtype = UINT8,
        seed: int = 0,
        damaged: Literal["raise", "skip"] = "raise",
        cache: Path | str | None = None,
        cache_bytes: int | None = None,
        max_open: int = DEFAULT_OPEN,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        arithmetic: torch.dtype = torch.float32,
    ) -> None:
        _check(frames, stride, dtype, damaged, seed)
        places = find_streams(streams)
        found = find_labels(labels, places)
        self.names = tuple(place.name for place in places)
        self.classes, self._labels = found.classes, found.numbers
        self.crop, self.size, self.dtype, self.seed = crop, size, dtype, seed
        self._memory_bytes, self._arithmetic = memory_bytes, arithmetic
        self._offsets = range(0, frames * stride, stride)
        kept = None if cache is None else RangeCache(cache, *([cache_bytes] if cache_bytes else []))
        self._pool = StreamPool(places, max_open=max_open, cache=kept)
        self._choice = choose_clips(clips, self._pool, span=frames * stride, seed=seed)
        self._skips = damaged == "skip"
        self._damaged: dict[int, str] = {}
        # Shared, so that workers that live longer than an epoch see the next one.
        self._epoch: Tensor = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self._renderer: FrameRenderer | None = None

    def __len__(self) -> int:
        return len(self._choice)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_renderer": None}

    @property
    def epoch(self) -> int:
        """Which random clips are taken."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Take the random clips of another epoch; call it between epochs, workers see it."""
        self._epoch.fill_(epoch)

    @property
    def damaged_streams(self) -> Mapping[str, str]:
        """Streams that this process skipped, and why."""
        named = {self.names[stream]: why for stream, why in self._damaged.items()}
        return MappingProxyType(named)

    def __getitem__(self, number: int) -> Sample:
        """One clip.

        Raises:
            IndexError: there is no such clip.
            InvalidStream: its stream is damaged, and such streams are not skipped.
            UnreadableInput: it cannot be read, or a decode file is missing.
            InvalidSettings: its frames do not hold the crop.
        """
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: Sequence[int]) -> list[Sample]:
        """Several clips, decoded together; raises as ``__getitem__``."""
        requests, pending = self.pending(numbers)
        if self._renderer is None:
            self._renderer = self.renderer(torch.device("cpu"))
        return self.samples(requests, self.rendered(self._renderer, pending))

    def renderer(self, device: torch.device) -> FrameRenderer:
        """What renders clips of this set on a device."""
        return FrameRenderer(device, dtype=self._arithmetic, max_bytes=self._memory_bytes)

    def pending(self, numbers: Sequence[int]) -> tuple[list[ClipRequest], PendingClips]:
        """Read and entropy-decode clips; raises as ``__getitem__``."""
        while True:
            try:
                requests = [self._request(number) for number in numbers]
                return requests, read_pending(self._pool, requests)
            except DamagedStream as error:
                if not self._skips:
                    raise
                self._damaged[error.stream] = str(error)
                _log.warning("skipped: %s", error)

    def rendered(self, renderer: FrameRenderer, pending: PendingClips) -> list[Tensor]:
        """Clips ``(T, C, H, W)`` of this set's size and type, on the renderer's device."""
        clips = render_clips(renderer, pending, crop=self.crop, size=self.size)
        return clips if self.dtype == UINT8 else [clip.to(FLOAT).div_(255) for clip in clips]

    def samples(self, requests: Sequence[ClipRequest], clips: Sequence[Tensor]) -> list[Sample]:
        """Rendered clips with their labels."""
        return [
            Sample(clip, self._labels[request.stream], request.stream, request.frames[0])
            for request, clip in zip(requests, clips, strict=True)
        ]

    def _request(self, number: int) -> ClipRequest:
        if not 0 <= number < len(self):
            raise IndexError(f"clip {number} of {len(self)}")
        number, stream = self._usable(number)
        header = self._pool.stream(stream).reader.header
        _check_crop(self.crop, header, self.names[stream])
        last = header.num_frames - 1
        latest = max(0, last - self._offsets[-1])
        first = self._choice.first_frame(number, self.epoch, latest)
        return ClipRequest(
            stream=stream, frames=tuple(min(last, first + offset) for offset in self._offsets)
        )

    def _usable(self, number: int) -> tuple[int, int]:
        """The next clip whose stream is not known to be damaged, and that stream."""
        for following in range(number, number + len(self)):
            candidate = following % len(self)
            stream = self._choice.stream_of(candidate)
            if stream not in self._damaged:
                return candidate, stream
        raise InvalidStream(
            f"all {len(self._damaged)} streams are damaged, {next(iter(self._damaged.values()))}"
        )


class NrvClips(IterableDataset[Sample]):
    """The same clips in (shuffled) order, divided among ranks and workers.

    Args:
        dataset: the clips.
        shuffle: in an order that ``dataset.seed`` and the epoch fix.
        rank: which of several readers this is.
        world_size: how many readers there are.
        chunk: clips decoded together.

    Raises:
        InvalidSettings: there is no such rank.
    """

    def __init__(
        self,
        dataset: NrvDataset,
        *,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        chunk: int = 8,
    ) -> None:
        self.dataset, self._chunk = dataset, chunk
        self._order = ClipOrder(
            len(dataset), shuffle=shuffle, seed=dataset.seed, rank=rank, world_size=world_size
        )

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Sample]:
        self._order.epoch = self.dataset.epoch
        numbers = list(self._order)
        if worker := get_worker_info():
            numbers = numbers[worker.id :: worker.num_workers]
        for start in range(0, len(numbers), self._chunk):
            yield from self.dataset.__getitems__(numbers[start : start + self._chunk])


def _check_crop(crop: Crop | None, header: StreamHeader, name: str) -> None:
    if crop is None:
        return
    if min(crop.top, crop.left) < 0 or crop.bottom > header.height or crop.right > header.width:
        raise InvalidSettings(
            f"{name} has frames of {header.width}x{header.height}, which do not hold the crop of "
            f"{crop.width}x{crop.height} at ({crop.left}, {crop.top})"
        )


def _check(frames: int, stride: int, dtype: torch.dtype, damaged: str, seed: int) -> None:
    if frames < 1 or stride < 1:
        raise InvalidSettings(f"clips of {frames} frames, stride {stride}; both begin with 1")
    if dtype not in {UINT8, FLOAT}:
        raise InvalidSettings(f"frames of {dtype}; choose torch.uint8 or torch.float32")
    if damaged not in {"raise", "skip"}:
        raise InvalidSettings(f"damaged={damaged!r}; choose 'raise' or 'skip'")
    if seed < 0:
        raise InvalidSettings(f"seed {seed}; seeds are not negative")
