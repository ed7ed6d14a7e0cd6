"""Refuses what is no use looking at: bodies that are too large, addresses that name nothing.

A body is refused by its announced length before a byte is read, and by count: a client that
announces nothing is counted while it sends.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from encoder_service.api.problems import problem, status_of
from encoder_service.errors import InvalidRequest, TooLarge
from encoder_service.settings import ApiSettings

OVERHEAD_BYTES = 2**16  # of a multipart body around its file


class BodyLimit:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, settings: ApiSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, unless or until it is too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit(scope)
        announced = dict(scope["headers"]).get(b"content-length", b"")
        if announced.isdigit() and int(announced) > limit:
            error = _refusal(limit)
            response = problem(status_of(TooLarge), error.code, str(error))
            response.headers["Connection"] = "close"  # nobody will read what is on its way
            await response(scope, receive, send)
            return
        await self._app(scope, _counted(receive, limit), send)

    def _limit(self, scope: Scope) -> int:
        headers = dict(scope["headers"])
        form = headers.get(b"content-type", b"").startswith(b"multipart/form-data")
        if form or scope["path"].startswith("/v1/objects/"):
            return self._settings.max_upload_bytes + OVERHEAD_BYTES
        return self._settings.max_body_bytes


class NoNul:
    """ASGI middleware: databases store no NUL, so nothing has a name or a label with one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, unless its path or query contains a NUL."""
        if scope["type"] == "http" and ("\0" in scope["path"] or b"%00" in scope["query_string"]):
            response = problem(
                status_of(InvalidRequest), InvalidRequest.code, "the address contains a NUL"
            )
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _counted(receive: Receive, limit: int) -> Receive:
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise _refusal(limit)
        return message

    return counted


def _refusal(limit: int) -> TooLarge:
    return TooLarge(f"the request has more than {limit} bytes; upload large sources in parts")
