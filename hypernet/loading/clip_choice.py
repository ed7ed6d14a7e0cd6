"""Which clips a set of streams offers, and in which order one reader of several gets them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, Protocol

import numpy as np
from torch.utils.data import Sampler

from hypernet.errors import InvalidSettings
from hypernet.loading.stream_pool import DamagedStream, StreamPool

OPENING_THREADS = 16

Clips = int | Literal["all"] | Sequence[tuple[int, int]]
"""So many random clips of every stream; all, one after the other; or (stream, first frame) each."""


class ClipChoice(Protocol):
    """Clips by number; a place is a stream and where the clip begins."""

    def __len__(self) -> int: ...

    def stream_of(self, number: int) -> int:
        """The stream that a clip is of, known without opening it."""
        ...

    def first_frame(self, number: int, epoch: int, latest: int) -> int:
        """Where the clip begins, at most at frame ``latest``."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomClips:
    """Every stream the same number of times, each time and in each epoch at another place."""

    streams: int
    per_stream: int
    seed: int

    def __len__(self) -> int:
        return self.streams * self.per_stream

    def stream_of(self, number: int) -> int:
        """See ``ClipChoice``."""
        return number % self.streams

    def first_frame(self, number: int, epoch: int, latest: int) -> int:
        """See ``ClipChoice``."""
        return int(np.random.default_rng((self.seed, epoch, number)).integers(latest + 1))


class ConsecutiveClips:
    """Every stream from its beginning, one clip after the other; the frames left over are dropped.

    A stream shorter than a clip has one.
    """

    def __init__(self, num_frames: Sequence[int], span: int) -> None:
        counts = [max(1, frames // span) for frames in num_frames]
        self._ends = np.array(list(accumulate(counts)), dtype=np.int64)
        self._span = span

    def __len__(self) -> int:
        return int(self._ends[-1])

    def stream_of(self, number: int) -> int:
        """See ``ClipChoice``."""
        return int(np.searchsorted(self._ends, number, side="right"))

    def first_frame(self, number: int, epoch: int, latest: int) -> int:  # noqa: ARG002 - always all
        """See ``ClipChoice``."""
        stream = self.stream_of(number)
        return (number - (int(self._ends[stream - 1]) if stream else 0)) * self._span


@dataclass(frozen=True, slots=True)
class ListedClips:
    """The clips of a list."""

    places: Sequence[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.places)

    def stream_of(self, number: int) -> int:
        """See ``ClipChoice``."""
        return self.places[number][0]

    def first_frame(self, number: int, epoch: int, latest: int) -> int:  # noqa: ARG002 - as listed
        """See ``ClipChoice``; a clip that reaches past the end repeats the last frame."""
        return self.places[number][1]


def choose_clips(clips: Clips, pool: StreamPool, *, span: int, seed: int) -> ClipChoice:
    """What a user asked for; only ``"all"`` opens streams, to learn their lengths.

    Raises:
        InvalidSettings: no clips, or of streams that do not exist.
        UnreadableInput: a stream cannot be opened.
    """
    if clips == "all":
        return ConsecutiveClips(_lengths(pool), span)
    if isinstance(clips, int):
        if clips < 1:
            raise InvalidSettings(f"{clips} clips per stream; ask for at least one")
        return RandomClips(streams=len(pool), per_stream=clips, seed=seed)
    places = [(int(stream), int(frame)) for stream, frame in clips]
    if not places or any(not 0 <= s < len(pool) or frame < 0 for s, frame in places):
        raise InvalidSettings(f"listed clips must be of streams 0 to {len(pool) - 1}, at least one")
    return ListedClips(places)


def _lengths(pool: StreamPool) -> list[int]:
    """Frames of every stream, none of a damaged one: who reads it says so.

    Many are opened at a time, as each may wait for a network.
    """

    def length(number: int) -> int:
        alone = StreamPool([pool.places[number]], cache=pool.cache)
        try:
            return alone.stream(0).reader.header.num_frames
        except DamagedStream:
            return 0
        finally:
            alone.close()

    with ThreadPoolExecutor(OPENING_THREADS) as threads:
        return list(threads.map(length, range(len(pool))))


class ClipOrder(Sampler[int]):
    """The order of one epoch for one of several readers: a function of seed, epoch and rank.

    Every reader gets equally many clips; the first ones are given twice where they do not divide.

    Args:
        length: clips of the set.
        shuffle: in random order.
        seed: of the order.
        rank: which reader this is.
        world_size: how many readers there are.

    Attributes:
        shuffle: as given, like world_size.
        epoch: whose order is given.
        start: clips of this reader that are left out, for going on in mid-epoch.

    Raises:
        InvalidSettings: there is no such rank.
    """

    def __init__(
        self,
        length: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not 0 <= rank < world_size:
            raise InvalidSettings(f"rank {rank} of {world_size}; ranks begin with 0")
        self._length, self._seed = length, seed
        self.shuffle, self.world_size, self._rank = shuffle, world_size, rank
        self.epoch, self.start = 0, 0
        self._stopped = False

    def __len__(self) -> int:
        """Clips of a whole epoch for this reader."""
        return math.ceil(self._length / self.world_size)

    def __iter__(self) -> Iterator[int]:
        self._stopped = False
        for number in self._numbers()[self.start :]:
            if self._stopped:
                return
            yield number

    def stop(self) -> None:
        """End the iteration that is under way."""
        self._stopped = True

    def _numbers(self) -> list[int]:
        if self.shuffle:
            order = np.random.default_rng((self._seed, self.epoch)).permutation(self._length)
        else:
            order = np.arange(self._length)
        even = np.resize(order, len(self) * self.world_size)
        return [int(number) for number in even[self._rank :: self.world_size]]
