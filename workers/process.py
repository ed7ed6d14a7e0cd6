"""What one worker process holds: made on first use, after the fork, once."""

from __future__ import annotations

import functools
import os
import socket
import threading
from pathlib import Path

from encoder_service.celery_queue import CeleryQueue
from encoder_service.database import Database
from encoder_service.jobs.listings import ListingRepository
from encoder_service.jobs.repository import JobRepository
from encoder_service.settings import Settings
from encoder_service.storage.locations import Locations
from workers.lease import LeaseKeeper
from workers.listing import Lister
from workers.pipeline import Pipeline
from workers.previews import Previewer
from workers.sources import SourceCache

# Set when this process is told to stop: the unit in work is given back between two steps.
SHUTDOWN = threading.Event()


@functools.cache
def pipeline() -> Pipeline:
    """The pipeline of this process; connections and models are never shared with another one."""
    # Imported here: PyTorch that was used before a fork hangs in every child.
    from hypernet.decoders.decode_file import MODELS_VARIABLE  # noqa: PLC0415
    from workers.decode_files import DecodeFiles  # noqa: PLC0415
    from workers.hypernet_codec import HypernetCodec  # noqa: PLC0415
    from workers.preview import write_preview  # noqa: PLC0415
    from workers.reading.reader import SandboxedReader  # noqa: PLC0415

    settings = _settings()
    jobs = JobRepository(_database(), settings.jobs)
    scratch = Path(settings.worker.scratch)
    models = os.environ.setdefault(MODELS_VARIABLE, str(scratch / "models"))
    sources = SourceCache(scratch, _locations(), max_bytes=settings.worker.scratch_bytes)
    return Pipeline(
        jobs=jobs,
        queue=_queue(),
        store=_locations().own,
        sources=sources,
        locations=_locations(),
        codec=HypernetCodec(
            SandboxedReader(settings.worker), DecodeFiles(_locations().own, Path(models))
        ),
        previews=Previewer(
            jobs=jobs,
            store=_locations().own,
            sources=sources,
            write=write_preview,
            should_stop=SHUTDOWN.is_set,
        ),
        keep=lambda lease: LeaseKeeper(jobs, lease, SHUTDOWN),
        worker=name_of(os.getpid()),
    )


@functools.cache
def lister() -> Lister:
    """What lists batches in this process; needs no codec."""
    return Lister(
        listings=ListingRepository(_database(), _settings().jobs),
        queue=_queue(),
        locations=_locations(),
        worker=name_of(os.getpid()),
        shutdown=SHUTDOWN,
    )


@functools.cache
def _settings() -> Settings:
    return Settings.from_environment(os.environ)


@functools.cache
def _database() -> Database:
    return Database(_settings().database)


@functools.cache
def _locations() -> Locations:
    return Locations(_settings().storage, base_url=_settings().api.url)


@functools.cache
def _queue() -> CeleryQueue:
    return CeleryQueue(_settings().queue)


def name_of(pid: int) -> str:
    """What a worker process of this machine is called in leases."""
    return f"{socket.gethostname()}:{pid}"
