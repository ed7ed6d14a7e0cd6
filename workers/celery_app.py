"""The only configuration of Celery. Imports no torch: it is imported before workers fork."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from billiard import active_children
from celery import Celery, signals

from encoder_service.celery_queue import CPU, GPU, LISTING_TASK, TASKS, transport_options
from encoder_service.settings import Settings
from encoder_service.telemetry import configure_logging

HARD_LIMIT_GRACE_SECONDS = 60


def configuration(settings: Settings) -> dict[str, Any]:
    """Every setting that is not Celery's default, with its reason."""
    visibility = {"visibility_timeout": settings.queue.visibility_seconds}
    limit = settings.worker.task_seconds
    return {
        "broker_url": settings.queue.url,
        "broker_transport_options": transport_options(settings.queue),
        # Celery's documentation asks for the timeout in all three places.
        "result_backend_transport_options": visibility,
        **visibility,
        # A broker that restarts is waited for, for ever, from the first moment on.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # Off on purpose: the lease makes the redelivered message harmless, so a hiccup of the
        # broker must not throw away minutes of work.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # A message outlives the worker that took it. Safe, because a lease guards the work and the
        # database counts the attempts.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # A worker that is busy for minutes must not sit on messages that others could act on.
        "worker_prefetch_multiplier": 1,
        # Results are rows of the database; the broker would only grow with them.
        "task_ignore_result": True,
        # What Flower shows: waiting, running, done.
        "task_track_started": True,
        "task_send_sent_event": True,
        "worker_send_task_events": True,
        # Ids only, as JSON; nothing that could be executed when it is read.
        "task_serializer": "json",
        "accept_content": ["json"],
        # A unit that hangs: an exception first, then the end of the process.
        "task_soft_time_limit": limit,
        "task_time_limit": limit + HARD_LIMIT_GRACE_SECONDS,
        # What a library leaks on a GPU comes back with a new process.
        "worker_max_tasks_per_child": settings.worker.tasks_per_child,
        # Our logs are JSON.
        "worker_hijack_root_logger": False,
        # One child: heartbeats, Flower and hard limits work while it computes; more workers, not
        # more children, use more devices.
        "worker_pool": "prefork",
        "worker_concurrency": 1,
        "task_default_queue": CPU,
        "task_routes": {name: {"queue": queue} for name, queue in (*TASKS.values(), LISTING_TASK)},
        "task_create_missing_queues": True,
        "imports": ["workers.tasks"],
    }


# Waiting threads of OpenMP take the time that other workers of a machine need. Must be known before
# PyTorch is imported; children inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

app = Celery("nrv", task_cls="workers.requests:WatchedTask")
app.conf.update(configuration(Settings.from_environment(os.environ)))


@signals.setup_logging.connect
def _set_up_logging(**_: object) -> None:
    level = Settings.from_environment(os.environ).log_level
    configure_logging(level=level, stream=sys.stderr)


@signals.worker_process_init.connect
def _listen_for_shutdown(**_: object) -> None:
    # Runs in each child. Celery keeps SIGUSR1 (time limits) and SIGTERM (the end) for itself.
    from workers.process import SHUTDOWN  # noqa: PLC0415 - not needed in the parent

    signal.signal(signal.SIGUSR2, lambda *_: SHUTDOWN.set())


@signals.worker_shutting_down.connect
def _pass_shutdown_on(**_: object) -> None:
    # Runs in the parent on SIGTERM. A warm shutdown waits for the unit in work; without this that
    # would take minutes, and then a SIGKILL would make the lease run out.
    for child in active_children():
        os.kill(child.pid, signal.SIGUSR2)


def worker_arguments(*, queues: tuple[str, ...] = (CPU, GPU), name: str = "nrv@%h") -> list[str]:
    """Arguments of Celery's command line for one worker."""
    return ["worker", "--queues", ",".join(queues), "--hostname", name, "--without-gossip"]
