"""Errors as ``application/problem+json`` (RFC 9457) with our stable code."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from encoder_service import errors
from encoder_service.errors import ServiceError

log = logging.getLogger(__name__)

# The first class in a method resolution order that is listed here decides.
STATUS: dict[type[ServiceError], HTTPStatus] = {
    errors.InvalidRequest: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.AccessDenied: HTTPStatus.FORBIDDEN,
    errors.RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.LeaseLost: HTTPStatus.CONFLICT,
    errors.DatabaseUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.QueueUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StorageUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StorageFull: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.InvalidKey: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.ObjectMissing: HTTPStatus.NOT_FOUND,
    errors.ObjectExists: HTTPStatus.CONFLICT,
    errors.FrameTimedOut: HTTPStatus.GATEWAY_TIMEOUT,
    errors.RendererLost: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.RenderersBusy: HTTPStatus.SERVICE_UNAVAILABLE,
    ServiceError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
RETRY_AFTER_SECONDS = "5"


class Problem(BaseModel):
    """What every refusal looks like."""

    type: str = Field(default="about:blank", examples=["about:blank"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["there is no encoding enc_01"])
    code: str = Field(description="stable; made for programs", examples=["not_found"])


def documented(*kinds: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """The entries of ``responses=`` for routes that may refuse in these ways."""
    grouped: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        status = int(status_of(kind))
        earlier = grouped.get(status, {}).get("description")
        text = f"`{kind.code}`: {(kind.__doc__ or '').splitlines()[0]}"
        grouped[status] = {
            "description": f"{earlier} {text}" if earlier else text,
            "content": {"application/problem+json": {"schema": Problem.model_json_schema()}},
        }
    return grouped


def status_of(kind: type[ServiceError]) -> HTTPStatus:
    """The HTTP status of an error."""
    return next(STATUS[each] for each in kind.__mro__ if each in STATUS)


def install(app: FastAPI) -> None:
    """Answer every error of the service, and of the framework, with a problem document."""

    @app.exception_handler(ServiceError)
    async def refuse(request: Request, error: ServiceError) -> Response:
        status = status_of(type(error))
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("request failed: %s %s: %s", request.method, request.url.path, error)
        headers = {}
        if isinstance(error, errors.RateLimited):
            headers["Retry-After"] = str(error.retry_after_seconds)
        return problem(status, error.code, str(error), headers=headers)

    @app.exception_handler(RequestValidationError)
    async def refuse_request(_: Request, error: RequestValidationError) -> Response:
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "request.invalid", sentence(error.errors()))

    @app.exception_handler(HTTPException)
    async def refuse_route(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        if status is HTTPStatus.BAD_REQUEST:  # the framework's word for a form that is no form
            status = HTTPStatus.UNPROCESSABLE_ENTITY
        code = {404: "not_found", 405: "request.method"}.get(status, "request.invalid")
        headers = dict(error.headers or {})
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            methods = _allowed(app, request.url.path)
            headers |= {"Allow": ", ".join(methods)} if methods else {}
        return problem(status, code, str(error.detail), headers=headers)

    @app.exception_handler(Exception)
    async def apologise(request: Request, error: Exception) -> Response:
        log.error("request failed: %s %s", request.method, request.url.path, exc_info=error)
        return problem(
            HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "this is our fault; it has been logged"
        )


def problem(status: HTTPStatus, code: str, detail: str, *, headers: Any = None) -> JSONResponse:
    """One problem document."""
    extra = dict(headers or {})
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        extra["Retry-After"] = RETRY_AFTER_SECONDS
    if status is HTTPStatus.UNAUTHORIZED:
        extra["WWW-Authenticate"] = "Bearer"
    content = Problem(title=status.phrase, status=status, detail=detail, code=code)
    return JSONResponse(
        content.model_dump(),
        status_code=status,
        headers=extra,
        media_type="application/problem+json",
    )


def sentence(mistakes: Iterable[Any]) -> str:
    """Where each mistake is and what is wrong, from pydantic's description of them."""
    return "; ".join(
        f"{'.'.join(map(str, each['loc'])) or 'body'}: {_message(each)}" for each in mistakes
    )


def _message(mistake: Any) -> str:
    # Errors that our own validators raise come back with a prefix that means nothing to a user.
    return str(mistake["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")


def _allowed(app: FastAPI, path: str) -> list[str]:
    """Every documented method of a path; the framework names those of one route only."""
    methods: set[str] = set()
    for template, operations in app.openapi()["paths"].items():
        pattern = re.sub(r"\\\{.*?\\\}", "[^/]+", re.escape(template))
        if re.fullmatch(pattern, path):
            methods |= {method.upper() for method in operations}
    return sorted(methods)
