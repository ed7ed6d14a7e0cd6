"""What a worker's parent does when its child is gone: it gives back what the child had leased."""

from __future__ import annotations

import logging
import os
from typing import Any

from billiard.exceptions import Terminated, WorkerLostError
from celery import Task
from celery.worker.request import Request

from encoder_service.database import Database
from encoder_service.errors import ServiceError
from encoder_service.jobs.commands import take_back
from encoder_service.settings import Settings
from encoder_service.telemetry import fields
from workers.process import name_of

log = logging.getLogger(__name__)

LOST = (WorkerLostError, Terminated, SystemExit, KeyboardInterrupt)


class WatchedRequest(Request):  # type: ignore[misc]  # Celery ships no types
    """A message as the parent sees it while a child works on it."""

    def on_failure(self, exc_info: Any, *arguments: Any, **options: Any) -> None:
        """Called for errors that a task raises, too; then the child lives."""
        error = exc_info.exception
        if isinstance(getattr(error, "exc", error), LOST):
            give_back(self.worker_pid)  # before the message goes back to the broker
        super().on_failure(exc_info, *arguments, **options)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Called before the child is killed for taking too long."""
        if not soft:
            give_back(self.worker_pid)
        super().on_timeout(soft, timeout)


class WatchedTask(Task):  # type: ignore[misc]  # as above
    """Base of our tasks."""

    Request = WatchedRequest


def give_back(pid: int | None) -> None:
    """End every lease of a child that is gone; if that fails, they run out."""
    if pid is None:
        return
    settings = Settings.from_environment(os.environ)
    # Opened and closed here: a child that is forked later must not inherit a connection.
    database = Database(settings.database)
    try:
        for lost in take_back(database, settings.jobs, name_of(pid)):
            log.warning("child lost", extra=fields(pid=pid, lease=lost))
    except ServiceError as error:
        log.warning("leases of a lost child run out: %s", error)
    finally:
        database.close()
