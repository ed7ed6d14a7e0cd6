"""Messages to workers. A message is a hint: losing, repeating or delaying one does no harm."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Mapping
from typing import Protocol

from encoder_service.jobs.records import Message, UnitKey
from encoder_service.jobs.states import UnitKind


class JobQueue(Protocol):
    """Wakes workers up."""

    def send(self, message: Message) -> None:
        """Tell some worker that a unit is waiting. Call it after the commit, never before.

        Raises:
            QueueUnavailable: the broker does not answer; the sweeper will send the message again.
        """
        ...

    def send_listing(self, batch_id: str, *, priority: int) -> None:
        """Tell some worker that the objects of a batch are to be listed; otherwise like `send`."""
        ...

    def depths(self) -> Mapping[frozenset[UnitKind], int]:
        """How many messages wait, by the kinds of unit that wait in one line.

        Raises:
            QueueUnavailable: the broker does not answer.
        """
        ...


class InMemoryQueue:
    """A queue within one process: most urgent first, then in the order of sending."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, UnitKey]] = []
        self._order = itertools.count()
        self._listings: deque[str] = deque()

    def __len__(self) -> int:
        return len(self._heap)

    def send(self, message: Message) -> None:
        """Store the message."""
        heapq.heappush(self._heap, (message.priority, next(self._order), message.unit))

    def send_listing(self, batch_id: str, *, priority: int) -> None:  # noqa: ARG002
        """Store the message; listings are few, and taken in the order of sending."""
        self._listings.append(batch_id)

    def depths(self) -> Mapping[frozenset[UnitKind], int]:
        """All kinds wait in one line."""
        return {frozenset(UnitKind): len(self._heap)}

    def receive_listing(self) -> str | None:
        """Take the oldest message about a listing; None when there is none."""
        return self._listings.popleft() if self._listings else None

    def receive(self) -> UnitKey | None:
        """Take the most urgent message; None when there is none."""
        return heapq.heappop(self._heap)[2] if self._heap else None
