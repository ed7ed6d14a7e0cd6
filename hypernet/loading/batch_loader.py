"""Batches of clips on a device, made ahead of who takes them; goes on where it stopped."""

from __future__ import annotations

import collections
import functools
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset

from hypernet.errors import HypernetError, InvalidSettings
from hypernet.loading.clip_choice import ClipOrder
from hypernet.loading.clip_reader import ClipRequest, PendingClips
from hypernet.loading.dataset import NrvDataset
from hypernet.loading.kept_memory import keep_memory
from hypernet.loading.prefetching import Prefetcher, Waiting
from hypernet.loading.samples import Batch, collate

DEFAULT_PREFETCH = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class _FromWorker:
    """What leaves a worker: a batch that was rendered there, or is still to be, or an error.

    Errors travel as values: a worker that raises takes seconds to end.
    """

    batch: Batch | None = None
    requests: Sequence[ClipRequest] = ()
    pending: PendingClips | None = None
    error: HypernetError | None = None
    damaged: Mapping[str, str] = field(default_factory=dict)


class _WorkerSide(Dataset[_FromWorker]):
    """What runs in the workers: entropy decoding, and rendering unless a GPU does that."""

    def __init__(self, dataset: NrvDataset, *, renders: bool, as_lists: bool) -> None:
        self._dataset, self._renders, self._as_lists = dataset, renders, as_lists

    def __getitems__(self, numbers: Sequence[int]) -> _FromWorker:
        try:
            made = self._made(numbers)
        except HypernetError as error:
            return _FromWorker(error=error)
        return replace(made, damaged=dict(self._dataset.damaged_streams))

    def _made(self, numbers: Sequence[int]) -> _FromWorker:
        dataset = self._dataset
        if self._renders:
            samples = dataset.__getitems__(numbers)
            return _FromWorker(batch=collate(samples, dataset.names, as_list=self._as_lists))
        requests, pending = dataset.pending(numbers)
        return _FromWorker(requests=requests, pending=pending)


class NrvLoader:
    """Batches of clips of a dataset, epoch after epoch.

    On a CPU the workers decode; for a GPU they decode entropy only, and this process renders whole
    batches on the device. Either way ``prefetch`` batches lie ready while others are used.

        loader = NrvLoader(NrvDataset("encodings/"), batch_size=16, workers=4, device="cuda")
        for epoch in range(10):
            for frames, label, *_ in loader:
                ...

    Args:
        dataset: the clips.
        batch_size: clips in a batch.
        workers: processes; 0 decodes in this one.
        device: where batches come to lie.
        shuffle: in an order that ``dataset.seed`` and the epoch fix.
        rank: which of several readers this is, for training on several devices.
        world_size: how many readers there are.
        drop_last: leave out a last batch that is not full.
        prefetch: batches that lie ready.
        as_lists: ``frames`` of a batch as a list, for streams of different sizes.
        workers_render: whether workers render too, or this process all batches; by default they do
            for a CPU and do not for a GPU.
        start_method: of the workers: ``"spawn"`` or ``"forkserver"``, which need a main module that
            can be imported, or ``"fork"``.

    Attributes:
        waiting: how long whoever takes the batches waited for them.

    Raises:
        InvalidSettings: settings out of range, or no such device.
    """

    def __init__(
        self,
        dataset: NrvDataset,
        *,
        batch_size: int,
        workers: int = 0,
        device: str | torch.device = "cpu",
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
        prefetch: int = DEFAULT_PREFETCH,
        as_lists: bool = False,
        workers_render: bool | None = None,
        start_method: str = "spawn",
    ) -> None:
        if min(batch_size, prefetch) < 1 or workers < 0:
            raise InvalidSettings(
                f"batches of {batch_size}, {prefetch} ahead, {workers} workers: at least 1, 1 and 0"
            )
        self.dataset, self.device = dataset, _usable(torch.device(device))
        self.waiting = Waiting()
        self._order = ClipOrder(
            len(dataset), shuffle=shuffle, seed=dataset.seed, rank=rank, world_size=world_size
        )
        self._batches = BatchSampler(self._order, batch_size, drop_last)
        self._batch_size, self._prefetch, self._as_lists = batch_size, prefetch, as_lists
        self._epoch, self._done = 0, 0
        self._resume_at = 0
        self._damaged: dict[str, str] = {}
        on_cpu = self.device.type == "cpu"
        renders = on_cpu if workers_render is None else workers_render and on_cpu
        self._renderer = None if renders else dataset.renderer(self.device)
        self._stream = _stream_on(self.device)
        self._source = DataLoader(
            _WorkerSide(dataset, renders=renders, as_lists=as_lists),
            batch_sampler=self._batches,
            num_workers=workers,
            collate_fn=_unchanged,
            persistent_workers=workers > 0,
            prefetch_factor=prefetch if workers else None,
            multiprocessing_context=start_method if workers else None,
            worker_init_fn=keep_memory,
        )

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of an epoch; the next iteration is the next epoch, if this one is finished.

        Raises:
            InvalidStream: a stream is damaged, and such streams are not skipped.
            UnreadableInput: one cannot be read, or a decode file is missing.
            InvalidSettings: frames of different sizes in a batch, unless as lists.
        """
        self._order.epoch = self._epoch
        self.dataset.set_epoch(self._epoch)
        self._done, self._resume_at = self._resume_at, 0
        self._order.start = self._done * self._batch_size
        source = iter(self._source)  # here, as a thread may not start processes
        made = functools.partial(self._finished_of, source)
        for batch in Prefetcher(made, self._prefetch, self.waiting):
            self._done += 1
            self._claim(batch)
            yield batch
        self._epoch, self._done = self._epoch + 1, 0

    @property
    def damaged_streams(self) -> Mapping[str, str]:
        """Streams that were skipped, and why."""
        return MappingProxyType(self._damaged)

    def set_epoch(self, epoch: int) -> None:
        """Begin with this epoch at the next iteration."""
        self._epoch, self._done, self._resume_at = epoch, 0, 0

    def state_dict(self) -> dict[str, int]:
        """Epoch, batches of it that were taken, and what these numbers depend on."""
        return {
            "epoch": self._epoch,
            "batches": self._done,
            "batch_size": self._batch_size,
            "seed": self.dataset.seed,
            "clips": len(self.dataset),
            "shuffle": int(self._order.shuffle),
            "world_size": self._order.world_size,
        }

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on behind the last batch that was taken when ``state_dict`` was called.

        Raises:
            InvalidSettings: the state is of another set, order, number of ranks or size of batches.
        """
        ours = self.state_dict()
        for name in ours.keys() - {"epoch", "batches"}:
            if state.get(name) != ours[name]:
                raise InvalidSettings(
                    f"this state is of a loader with {name} {state.get(name)}, "
                    f"not {ours[name]}: its order of clips is another"
                )
        self._epoch, self._done = state["epoch"], state["batches"]
        self._resume_at = self._done

    def _finished_of(self, source: Iterator[_FromWorker]) -> Generator[Batch, None, None]:
        try:
            yield from map(self._finished, source)
        except (GeneratorExit, HypernetError):
            # Workers that are ended while they send something abort.
            self._order.stop()
            collections.deque(source, maxlen=0)
            raise

    def _finished(self, made: _FromWorker) -> Batch:
        """The batch on the device; runs in the prefetching thread."""
        if made.error is not None:
            try:
                raise made.error
            finally:
                del made  # the error's traceback holds this frame: a circle keeps workers alive
        self._damaged.update(made.damaged)
        if made.batch is not None:
            return made.batch
        assert made.pending is not None  # noqa: S101 -- one of the two
        assert self._renderer is not None  # noqa: S101 -- pending batches are for devices
        with torch.cuda.stream(self._stream):
            clips = self.dataset.rendered(self._renderer, made.pending)
            samples = self.dataset.samples(made.requests, clips)
            batch = collate(samples, self.dataset.names, as_list=self._as_lists)
        if self._stream is not None:
            self._stream.synchronize()
        return batch

    def _claim(self, batch: Batch) -> None:
        """Memory that another CUDA stream made must not be used again while this one reads it."""
        if self._stream is None:
            return
        frames = batch.frames if isinstance(batch.frames, list) else [batch.frames]
        for each in frames:
            each.record_stream(torch.cuda.current_stream(self.device))


def _usable(device: torch.device) -> torch.device:
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InvalidSettings("there is no CUDA device here; choose device='cpu'")
    return device


def _stream_on(device: torch.device) -> torch.cuda.Stream | None:
    return torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]


def _unchanged(made: Any) -> Any:
    """What a worker made, as it is; a function at module level, so that it can be spawned."""
    return made
