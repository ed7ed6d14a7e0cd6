"""Keeps a lease alive while somebody works under it, and says when to stop."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Protocol, Self

from encoder_service.errors import LeaseLost, ServiceError
from encoder_service.jobs.records import Lease
from encoder_service.jobs.repository import JobRepository

log = logging.getLogger(__name__)


class Keeper(Protocol):
    """What work under a lease looks at."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def report(self, done: float) -> None:
        """Note which part of the work is done, 0 to 1."""
        ...

    def should_stop(self) -> bool:
        """Whether to stop: cancelled, lost, or this worker is told to shut down."""
        ...


class LeaseKeeper:
    """Sends heartbeats from a thread of its own, so that long computations need not think of it.

    Args:
        jobs: where leases are.
        lease: the one to keep.
        shutdown: set when this worker must stop soon.
    """

    def __init__(self, jobs: JobRepository, lease: Lease, shutdown: threading.Event) -> None:
        self._jobs = jobs
        self._lease = lease
        self._shutdown = shutdown
        self._finished = threading.Event()
        self._unwanted = threading.Event()
        self._done = 0.0
        self._thread = threading.Thread(target=self._beat, name=f"lease {lease.unit}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._finished.set()
        self._thread.join()

    def report(self, done: float) -> None:
        """See `Keeper.report`; sent with the next heartbeat."""
        self._done = min(1.0, max(0.0, done))

    def should_stop(self) -> bool:
        """See `Keeper.should_stop`."""
        return self._unwanted.is_set() or self._shutdown.is_set()

    def _beat(self) -> None:
        settings = self._jobs.settings
        alive_until = time.monotonic() + settings.lease_seconds
        while not self._finished.wait(settings.heartbeat_seconds):
            sent_at = time.monotonic()
            try:
                frames = int(self._done * self._lease.num_frames)
                if not self._jobs.heartbeat(self._lease, progress_frames=frames):
                    self._unwanted.set()
                alive_until = sent_at + settings.lease_seconds
            except LeaseLost as error:
                log.warning("lease lost: %s", error)
                self._unwanted.set()
                return
            except ServiceError as error:
                log.warning("heartbeat not heard: %s", error)
                if time.monotonic() > alive_until:
                    self._unwanted.set()


class NullLease:
    """Sends nothing: for work in one process that nobody competes for."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing to stop."""

    def report(self, done: float) -> None:
        """See `Keeper.report`; nobody asks."""

    def should_stop(self) -> bool:
        """See `Keeper.should_stop`; never."""
        return False
