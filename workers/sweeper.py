"""Takes expired leases back and sends missing messages, every few seconds. Any number may run."""

from __future__ import annotations

import logging
import threading

from encoder_service.errors import ServiceError
from encoder_service.jobs.commands import Recovered, recover
from encoder_service.jobs.repository import JobRepository
from encoder_service.queue import JobQueue
from encoder_service.telemetry import fields

log = logging.getLogger(__name__)


def sweep(jobs: JobRepository, queue: JobQueue) -> Recovered | None:
    """Sweep once; None when the database does not answer, which the next sweep may."""
    try:
        recovered = recover(jobs, queue)
    except ServiceError as error:
        log.warning("sweep skipped: %s", error)
        return None
    if recovered.expired or recovered.sent:
        log.info("swept", extra=fields(expired=recovered.expired, sent=recovered.sent))
    return recovered


def sweep_until(stop: threading.Event, jobs: JobRepository, queue: JobQueue) -> None:
    """Sweep again and again until ``stop`` is set."""
    while not stop.is_set():
        sweep(jobs, queue)
        stop.wait(jobs.settings.sweep_seconds)
