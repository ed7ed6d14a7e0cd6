"""What one worker process holds: made on first use, after the fork, once."""

from __future__ import annotations

import functools
import os
import socket
import threading
from pathlib import Path

from encoder_service.celery_queue import CeleryQueue
from encoder_service.database import Database
from encoder_service.jobs.repository import JobRepository
from encoder_service.settings import Settings
from encoder_service.storage.locations import Locations
from workers.lease import LeaseKeeper
from workers.pipeline import Pipeline
from workers.sources import SourceCache

# Set when this process is told to stop: the unit in work is given back between two steps.
SHUTDOWN = threading.Event()


@functools.cache
def pipeline() -> Pipeline:
    """The pipeline of this process; connections and models are never shared with another one."""
    # Imported here: PyTorch that was used before a fork hangs in every child.
    from workers.hypernet_codec import HypernetCodec  # noqa: PLC0415

    settings = Settings.from_environment(os.environ)
    jobs = JobRepository(Database(settings.database), settings.jobs)
    locations = Locations(settings.storage, base_url=settings.api.url)
    scratch = Path(settings.worker.scratch)
    return Pipeline(
        jobs=jobs,
        queue=CeleryQueue(settings.queue),
        store=locations.own,
        sources=SourceCache(scratch, locations, max_bytes=settings.worker.scratch_bytes),
        codec=HypernetCodec(),
        keep=lambda lease: LeaseKeeper(jobs, lease, SHUTDOWN),
        worker=f"{socket.gethostname()}:{os.getpid()}",
    )
