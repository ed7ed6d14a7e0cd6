"""One item after the other, made ahead of time by a thread."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
_POLL_SECONDS = 0.1


@dataclass(slots=True)
class Waiting:
    """How long a consumer waited.

    Attributes:
        items: handed out.
        seconds: waited for them, all together; the first one of each iteration is not counted, as
            it also waits for processes to start.
        total_seconds: from the first item to the request for the one after the last.
    """

    items: int = 0
    seconds: float = 0.0
    total_seconds: float = 0.0

    @property
    def share(self) -> float:
        """Part of the time that was spent waiting."""
        return self.seconds / self.total_seconds if self.total_seconds else 0.0


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None = None


_END = _End()


class Prefetcher(Generic[Item]):
    """Runs a generator in a thread, at most ``depth`` items ahead of who takes them.

    Args:
        items: makes the generator; it is closed in the thread.
        depth: items that wait at a time.
        waiting: counts what the consumer waits.
    """

    def __init__(
        self, items: Callable[[], Generator[Item, None, None]], depth: int, waiting: Waiting
    ) -> None:
        self._items, self._waiting = items, waiting
        self._ready: queue.Queue[Item | _End] = queue.Queue(max(1, depth))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nrv-prefetch", daemon=True)

    def __iter__(self) -> Iterator[Item]:
        """The items, in order; what the generator raises is raised here.

        The thread has ended when the iteration has, also when it is left early.
        """
        with closing(self._taken()) as taken:
            yield from taken

    def _taken(self) -> Generator[Item, None, None]:
        self._thread.start()
        try:
            item = self._ready.get()
            begun = asked = time.perf_counter()
            while not isinstance(item, _End):
                self._waiting.items += 1
                yield item
                asked = time.perf_counter()
                item = self._ready.get()
                now = time.perf_counter()
                self._waiting.seconds += now - asked
                self._waiting.total_seconds += now - begun
                begun = now
            if item.error is not None:
                raise item.error
        finally:
            item = _END  # an error's traceback holds this frame: no circles
            self._stopped.set()
            self._thread.join()

    def _run(self) -> None:
        try:
            with closing(self._items()) as items:
                for item in items:
                    if not self._put(item):
                        return
        except BaseException as error:  # raised again in the consumer's thread
            self._put(_End(error))
        else:
            self._put(_END)

    def _put(self, item: Item | _End) -> bool:
        while not self._stopped.is_set():
            with suppress(queue.Full):
                self._ready.put(item, timeout=_POLL_SECONDS)
                return True
        return False
