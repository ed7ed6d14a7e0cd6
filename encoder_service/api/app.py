"""The application factory."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI

from encoder_service.api import encodings, events, health, objects, problems, uploads
from encoder_service.api.context import Context
from encoder_service.api.limits import BodyLimit
from encoder_service.database import Database
from encoder_service.queue import JobQueue
from encoder_service.settings import Settings
from encoder_service.storage.locations import Locations

DESCRIPTION = """\
Videos in, neural streams out. Every refusal is an `application/problem+json` document whose `code`
is stable. Authenticate with `Authorization: Bearer nrv_...`.
"""


def create_app(context: Context) -> FastAPI:
    """An ASGI application over one database, object store and queue."""
    app = FastAPI(title="nrv", version=version("nrv"), description=DESCRIPTION, redoc_url=None)
    app.state.context = context
    app.add_middleware(BodyLimit, settings=context.settings.api)
    problems.install(app)
    app.include_router(health.router)
    for routes in (encodings, events, uploads, objects):
        app.include_router(routes.router, prefix="/v1")
    return app


def connect(settings: Settings, queue: JobQueue) -> Context:
    """The parts of the service that ``settings`` name."""
    return Context(
        settings=settings,
        database=Database(settings.database),
        queue=queue,
        locations=Locations(settings.storage, base_url=settings.api.url),
    )
