"""Messages sent behind the back of requests, so that no request waits for the broker."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from queue import Full, Queue

from encoder_service.errors import QueueUnavailable
from encoder_service.jobs.records import Message
from encoder_service.jobs.states import UnitKind
from encoder_service.queue import JobQueue
from encoder_service.telemetry import fields

MAX_WAITING = 10_000

log = logging.getLogger(__name__)


class BackgroundQueue:
    """A `JobQueue` that sends through another one, in one thread and in order.

    Nothing is lost when the process ends or the broker is down: the sweeper finds what waits.
    """

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._waiting = Queue[tuple[str, Callable[[], None]]](MAX_WAITING)
        threading.Thread(target=self._send_all, name="messages", daemon=True).start()

    def send(self, message: Message) -> None:
        """See `JobQueue.send`; raises QueueUnavailable only when far too many wait."""
        self._put(str(message.unit), lambda: self._queue.send(message))

    def send_listing(self, batch_id: str, *, priority: int) -> None:
        """See `JobQueue.send_listing`; raises as `send` does."""
        self._put(batch_id, lambda: self._queue.send_listing(batch_id, priority=priority))

    def depths(self) -> Mapping[frozenset[UnitKind], int]:
        """See `JobQueue.depths`; what has not been sent yet is not counted."""
        return self._queue.depths()

    def join(self) -> None:
        """Wait until everything was sent, or refused by the broker."""
        self._waiting.join()

    def _put(self, subject: str, work: Callable[[], None]) -> None:
        try:
            self._waiting.put_nowait((subject, work))
        except Full as error:
            raise QueueUnavailable(f"{MAX_WAITING} messages wait to be sent") from error

    def _send_all(self) -> None:
        while True:
            subject, work = self._waiting.get()
            try:
                work()
            except QueueUnavailable as error:
                log.warning("message not sent", extra=fields(subject=subject, reason=str(error)))
            except Exception:  # the thread must outlive whatever a client library raises
                log.exception("message not sent", extra=fields(subject=subject))
            finally:
                self._waiting.task_done()
