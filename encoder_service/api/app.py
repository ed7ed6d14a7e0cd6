"""The application factory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from encoder_service.api import (
    batches,
    callbacks,
    decode_files,
    encodings,
    events,
    frames,
    health,
    objects,
    page,
    problems,
    uploads,
)
from encoder_service.api.context import Context
from encoder_service.api.limits import BodyLimit, NoNul
from encoder_service.api.measuring import Measured
from encoder_service.api.problems import documented
from encoder_service.api.rate_limits import RateLimiter
from encoder_service.database import Database
from encoder_service.errors import (
    DatabaseUnavailable,
    InvalidRequest,
    RateLimited,
    StorageUnavailable,
    TooLarge,
    Unauthenticated,
)
from encoder_service.frames.pool import RendererPool
from encoder_service.queue import JobQueue
from encoder_service.settings import Settings
from encoder_service.storage.locations import Locations

DESCRIPTION = """\
Videos in, neural streams out. Every refusal is an `application/problem+json` document whose `code`
is stable. Authenticate with `Authorization: Bearer nrv_...`.
"""
# How every route that wants a key may refuse.
EVERYWHERE = documented(
    Unauthenticated, RateLimited, TooLarge, InvalidRequest, DatabaseUnavailable, StorageUnavailable
)


def create_app(context: Context) -> FastAPI:
    """An ASGI application over one database, object store and queue."""
    app = _Application(
        title="nrv",
        version=version("nrv"),
        description=DESCRIPTION,
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.context = context
    app.state.renderers = RendererPool(context.settings.frames)
    app.state.limiter = RateLimiter(context.settings.api)
    app.add_middleware(NoNul)
    app.add_middleware(BodyLimit, settings=context.settings.api)
    app.add_middleware(Measured)  # the outermost: refusals of the others are measured, too
    problems.install(app)
    app.include_router(page.router)
    app.include_router(health.router)
    for routes in (encodings, events, frames, batches, uploads, callbacks, decode_files):
        app.include_router(routes.router, prefix="/v1", responses=EVERYWHERE)
    app.include_router(objects.router, prefix="/v1")
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.renderers.close()


class _Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The document, with the limits that this service has."""
        document = super().openapi()
        size = document["components"]["schemas"]["NewUpload"]["properties"]["size_bytes"]
        size["maximum"] = self.state.context.settings.api.max_upload_bytes
        return document


def connect(settings: Settings, queue: JobQueue) -> Context:
    """The parts of the service that ``settings`` name."""
    return Context(
        settings=settings,
        database=Database(settings.database),
        queue=queue,
        locations=Locations(settings.storage, base_url=settings.api.url),
    )
