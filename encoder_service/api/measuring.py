"""Every request gets an id, a line in the log, and a place in the histogram of durations."""

from __future__ import annotations

import logging
import secrets
import time

from prometheus_client import CollectorRegistry, Histogram
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from encoder_service.telemetry import bind, fields

log = logging.getLogger(__name__)

# Of this process; what can be counted in the database is counted there, see `api.health`.
REQUESTS = CollectorRegistry()
REQUEST_SECONDS = Histogram(
    "nrv_request_seconds",
    "Durations of HTTP requests",
    ("method", "route", "status"),
    registry=REQUESTS,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10),
)
VERSION = "/v1"
QUIET_ROUTES = frozenset({"/healthz", "/readyz", "/metrics"})  # asked every few seconds


class Measured:
    """ASGI middleware. The id comes back as ``X-Request-Id`` and is bound to every log line."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and note how it went."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, status = secrets.token_hex(8), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        started = time.perf_counter()
        with bind(request_id=request_id):
            try:
                await self._app(scope, receive, noted)
            finally:
                _note(scope, status, time.perf_counter() - started)


def _note(scope: Scope, status: int, seconds: float) -> None:
    route = _route(scope)
    REQUEST_SECONDS.labels(scope["method"], route, str(status)).observe(seconds)
    level = logging.DEBUG if route in QUIET_ROUTES else logging.INFO
    shown = fields(
        method=scope["method"], path=scope["path"], status=status, seconds=round(seconds, 4)
    )
    log.log(level, "request", extra=shown)


def _route(scope: Scope) -> str:
    """The pattern, not the path: a label must not have as many values as there are ids."""
    pattern = str(getattr(scope.get("route"), "path", "none"))
    # The framework leaves the prefix of an included router out.
    versioned = scope["path"].startswith(VERSION) and pattern.startswith("/")
    return VERSION + pattern.removeprefix(VERSION) if versioned else pattern
