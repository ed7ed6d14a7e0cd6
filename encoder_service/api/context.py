"""What every route works with, and who is asking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from encoder_service.api.rate_limits import RateLimiter
from encoder_service.api_keys import ApiKey, authenticate
from encoder_service.callbacks import Targets
from encoder_service.database import Database
from encoder_service.errors import Unauthenticated
from encoder_service.jobs.queries import JobQueries
from encoder_service.queue import JobQueue
from encoder_service.settings import Settings
from encoder_service.storage.locations import Locations
from encoder_service.uploads import Uploads


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """The parts of the service that routes use."""

    settings: Settings
    database: Database
    queue: JobQueue
    locations: Locations

    @property
    def queries(self) -> JobQueries:
        """What can be asked about encodings."""
        return JobQueries(self.database)

    @property
    def targets(self) -> Targets:
        """Whom callbacks may reach."""
        return Targets(self.settings.callbacks)

    @property
    def uploads(self) -> Uploads:
        """Sources on their way in."""
        return Uploads(self.database, self.locations.own)


async def _context(request: Request) -> Context:  # async: it waits for nothing, so needs no thread
    context: Context = request.app.state.context
    return context


bearer = HTTPBearer(auto_error=False, description="an API key: `nrv keys create`")
Here = Annotated[Context, Depends(_context)]


def _owner(
    request: Request,
    context: Here,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> ApiKey:
    if credentials is None:
        raise Unauthenticated("send an API key: Authorization: Bearer nrv_...")
    key = authenticate(context.database, credentials.credentials)
    limiter: RateLimiter = request.app.state.limiter
    limiter.take(key.id)
    return key


Owner = Annotated[ApiKey, Depends(_owner)]
