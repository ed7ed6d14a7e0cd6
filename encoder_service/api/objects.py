"""Bytes of objects: ranges, and the signed links of a store that is a folder."""

from __future__ import annotations

import re
from tempfile import SpooledTemporaryFile
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from encoder_service.api.context import Context, Here
from encoder_service.api.problems import documented
from encoder_service.errors import (
    AccessDenied,
    InvalidRequest,
    NotFound,
    ObjectMissing,
    StorageFull,
    TooLarge,
)
from encoder_service.storage.base import ObjectStore
from encoder_service.storage.local import LocalObjectStore

router = APIRouter(tags=["objects"])

IN_MEMORY_BYTES = 2**20
RANGE = re.compile(r"bytes=(?:(\d+)-(\d*)|-(\d+))")

RangeHeader = Annotated[str | None, Header(alias="range", examples=["bytes=0-1023"])]


@router.get(
    "/objects/{key:path}",
    summary="Read an object by a signed link",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {}}},
        206: {"description": "the range asked for"},
        416: {"description": "the range begins after the last byte"},
        **documented(AccessDenied, NotFound, ObjectMissing, InvalidRequest),
    },
)
def read_object(
    key: str, request: Request, context: Here, range_header: RangeHeader = None
) -> Response:
    """Links are made by the service; they are valid for one method, one object and some time."""
    store = _linked(context, "GET", key, request)
    return serve(store, key, range_header, filename=request.query_params.get("filename"))


@router.put(
    "/objects/{key:path}",
    summary="Store an object, or a part of one, by a signed link",
    status_code=200,
    response_class=Response,
    responses=documented(AccessDenied, NotFound, InvalidRequest, TooLarge, StorageFull),
)
async def store_object(key: str, request: Request, context: Here) -> Response:
    """The answer's ETag names what was stored."""
    store = _linked(context, "PUT", key, request)
    query = request.query_params
    with SpooledTemporaryFile(IN_MEMORY_BYTES) as body:
        async for chunk in request.stream():
            body.write(chunk)
        body.seek(0)
        if "upload" not in query:
            await run_in_threadpool(store.put, key, body)
            return Response()
        part = await run_in_threadpool(
            store.put_part, key, query["upload"], int(query["part"]), body
        )
    return Response(headers={"ETag": f'"{part.etag}"'})


def serve(
    store: ObjectStore,
    key: str,
    range_header: str | None,
    *,
    filename: str | None,
    media_type: str = "application/octet-stream",
) -> Response:
    """An object, or the range of it that was asked for."""
    info = store.stat(key)
    headers = {"Accept-Ranges": "bytes", "ETag": f'"{info.etag.strip(chr(34))}"'}
    if filename is not None:
        safe = re.sub(r"[^A-Za-z0-9._ -]", "_", filename)
        headers["Content-Disposition"] = f'attachment; filename="{safe}"'
    wanted = parse_range(range_header, info.size)
    if wanted is None:
        return StreamingResponse(
            store.stream(key),
            headers={**headers, "Content-Length": str(info.size)},
            media_type=media_type,
        )
    start, stop = wanted
    if start >= stop:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{info.size}"})
    return StreamingResponse(
        store.stream(key, offset=start, length=stop - start),
        status_code=206,
        headers={
            **headers,
            "Content-Length": str(stop - start),
            "Content-Range": f"bytes {start}-{stop - 1}/{info.size}",
        },
        media_type=media_type,
    )


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the byte after the last; None for the whole object.

    What is not one range of bytes is ignored, as RFC 9110 asks; a range beyond the end is empty.
    """
    match = RANGE.fullmatch((header or "").replace(" ", ""))
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        return max(0, size - int(suffix)), size if int(suffix) else 0
    stop = size if not last else min(size, int(last) + 1)
    if last and int(last) < int(first):
        return None
    return int(first), stop


def _linked(context: Context, method: str, key: str, request: Request) -> LocalObjectStore:
    store = context.locations.own
    if not isinstance(store, LocalObjectStore):
        raise NotFound("objects are in a bucket; use the links that the service gives")
    query = dict(request.query_params)
    if len(query) != len(request.query_params.multi_items()):
        raise InvalidRequest("a link names every parameter once")
    store.check_link(method, key, query)
    return store
