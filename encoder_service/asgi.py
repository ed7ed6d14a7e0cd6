"""The API as a process of its own: for a service whose parts run apart, see docs/deployment.md."""

from __future__ import annotations

import os
import signal
import sys
import tempfile

import uvicorn
from fastapi import FastAPI

from encoder_service.settings import Settings
from encoder_service.telemetry import configure_logging

GRACE_SECONDS = 10


def application() -> FastAPI:
    """The application that the NRV_* settings describe; one in each process."""
    # Imported here: prometheus_client looks once, when it is imported, at how numbers are shared.
    from encoder_service.api.app import connect, create_app  # noqa: PLC0415
    from encoder_service.background_queue import BackgroundQueue  # noqa: PLC0415
    from encoder_service.celery_queue import CeleryQueue  # noqa: PLC0415

    settings = Settings.from_environment(os.environ)
    configure_logging(level=settings.log_level, stream=sys.stderr)
    queue = BackgroundQueue(CeleryQueue(settings.queue))
    return create_app(connect(settings, queue))


def run(*, host: str, port: int, processes: int) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        InvalidConfiguration: an NRV_* setting is unusable.
    """
    Settings.from_environment(os.environ)  # refused here, once, rather than in every process
    # The server raises the signals that stopped it once more.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    with tempfile.TemporaryDirectory(prefix="nrv-metrics-") as folder:
        if processes > 1:  # /metrics is answered by one of them, for all of them
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        uvicorn.run(
            "encoder_service.asgi:application",
            factory=True,
            host=host,
            port=port,
            workers=processes,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
