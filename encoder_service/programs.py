"""Command lines of the programs that a service consists of: the one place that knows them."""

from __future__ import annotations

import sys

QUEUES = "cpu,gpu"
WORKER_NAME = "nrv@%h"


def worker(*, queues: str = QUEUES, name: str = WORKER_NAME) -> list[str]:
    """One worker."""
    return [sys.executable, "-m", "workers", "--queues", queues, "--name", name]


def sweeper() -> list[str]:
    """Recovers the work of lost workers and sends callbacks."""
    return [sys.executable, "-m", "workers.sweeper"]


def flower(*, host: str, port: int) -> list[str]:
    """The view on workers and tasks."""
    celery = [sys.executable, "-m", "celery", "--app", "workers.celery_app", "--quiet"]
    return [*celery, "flower", f"--address={host}", f"--port={port}"]
