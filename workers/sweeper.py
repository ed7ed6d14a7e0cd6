"""Takes expired leases back, sends missing messages and due callbacks. Any number may run."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading

from encoder_service.callbacks import Targets
from encoder_service.celery_queue import CeleryQueue
from encoder_service.database import Database
from encoder_service.errors import ServiceError
from encoder_service.jobs.callbacks import CallbackRepository
from encoder_service.jobs.commands import Recovered, recover
from encoder_service.jobs.recovery import Recovery
from encoder_service.queue import JobQueue
from encoder_service.settings import Settings
from encoder_service.telemetry import configure_logging, fields
from workers.callbacks import Deliverer

log = logging.getLogger("workers.sweeper")  # also where this module is the program


def sweep(jobs: Recovery, queue: JobQueue) -> Recovered | None:
    """Sweep once; None when the database does not answer, which the next sweep may."""
    try:
        recovered = recover(jobs, queue)
    except ServiceError as error:
        log.warning("sweep skipped: %s", error)
        return None
    if recovered.expired or recovered.sent:
        log.info("swept", extra=fields(expired=recovered.expired, sent=recovered.sent))
    return recovered


def sweep_until(stop: threading.Event, jobs: Recovery, queue: JobQueue) -> None:
    """Sweep again and again until ``stop`` is set."""
    while not stop.is_set():
        sweep(jobs, queue)
        stop.wait(jobs.settings.sweep_seconds)


def main() -> None:
    """Sweep in a process of its own: no busy worker keeps it from its round."""
    settings = Settings.from_environment(os.environ)
    configure_logging(level=settings.log_level, stream=sys.stderr)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    database = Database(settings.database)
    deliverer = Deliverer(
        CallbackRepository(database, settings.callbacks),
        Targets(settings.callbacks),
        settings.storage.link_secret,
    )
    # A thread of its own: a receiver that takes its time must not keep lost work waiting.
    callbacks = threading.Thread(target=deliverer.deliver_until, args=[stop], name="callbacks")
    callbacks.start()
    try:
        sweep_until(stop, Recovery(database, settings.jobs), CeleryQueue(settings.queue))
    finally:
        stop.set()


if __name__ == "__main__":
    main()
