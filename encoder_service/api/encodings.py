"""``/v1/encodings``: submit, look, wait, cancel, retry, download."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from encoder_service.api import callbacks
from encoder_service.api.context import Context, Here, Owner
from encoder_service.api.objects import RangeHeader, serve
from encoder_service.api.problems import documented, sentence
from encoder_service.api.schemas import (
    EncodingDetail,
    EncodingOptions,
    EncodingPage,
    EncodingView,
    NewEncoding,
)
from encoder_service.errors import (
    AccessDenied,
    Conflict,
    IdempotencyMismatch,
    IllegalTransition,
    InvalidRequest,
    NotFound,
    StorageFull,
    TooLarge,
)
from encoder_service.jobs import commands
from encoder_service.jobs.load import measure_load
from encoder_service.jobs.progress import progress_of
from encoder_service.jobs.queries import Filter
from encoder_service.jobs.records import Encoding, Submission
from encoder_service.jobs.states import EncodingStatus
from encoder_service.storage.local import LocalObjectStore
from encoder_service.storage.locations import check_source

router = APIRouter(tags=["encodings"])

MAX_FIELDS = 40
MAX_FIELD_BYTES = 2**16
FORM_SCHEMA: dict[str, Any] = EncodingOptions.model_json_schema() | {"required": ["file"]}
FORM_SCHEMA["properties"]["file"] = {"type": "string", "format": "binary"}
BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": NewEncoding.model_json_schema()},
        "multipart/form-data": {"schema": FORM_SCHEMA},
    },
}

IdempotencyKey = Annotated[
    str | None, Header(min_length=1, max_length=200, description="makes repeating harmless")
]

Direct = Annotated[bool, Query(description="never a redirection: pages may not follow one")]


@router.post(
    "/encodings",
    status_code=202,
    summary="Submit a video",
    openapi_extra={"requestBody": BODY},
    callbacks=callbacks.news.routes,
    responses=documented(
        AccessDenied, NotFound, Conflict, IdempotencyMismatch, TooLarge, StorageFull
    ),
)
async def submit(
    request: Request,
    response: Response,
    context: Here,
    owner: Owner,
    idempotency_key: IdempotencyKey = None,
) -> EncodingView:
    """Send JSON that names a source, or a form with the video itself in the field `file`."""
    content_type = request.headers.get("content-type", "")
    if content_type.startswith("multipart/form-data"):
        async with request.form(
            max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES
        ) as form:
            wanted = await run_in_threadpool(_take_file, context, owner.id, form)
    else:
        wanted = _parse(NewEncoding, await request.body())
    encoding = await run_in_threadpool(_submit, context, owner.id, wanted, idempotency_key)
    response.headers["Location"] = f"/v1/encodings/{encoding.id}"
    return EncodingView.of(encoding)


@router.get("/encodings", summary="List encodings, newest first")
def list_encodings(
    *,
    context: Here,
    owner: Owner,
    status: EncodingStatus | None = None,
    label: Annotated[str | None, Query(max_length=100)] = None,
    batch: Annotated[str | None, Query(max_length=40)] = None,
    limit: Annotated[int, Query(ge=1)] = 50,
    cursor: Annotated[str | None, Query(max_length=40, pattern=r"^[a-z0-9_]+$")] = None,
) -> EncodingPage:
    """Encodings that are added while you turn pages shift nothing."""
    page = context.queries.encodings(
        owner.id,
        Filter(status=status, label=label, batch_id=batch),
        limit=min(limit, context.settings.api.max_page),
        cursor=cursor,
    )
    return EncodingPage(
        items=[EncodingView.of(each) for each in page.items], next_cursor=page.next_cursor
    )


@router.get("/encodings/{encoding_id}", summary="One encoding", responses=documented(NotFound))
def get_encoding(encoding_id: str, context: Here, owner: Owner) -> EncodingDetail:
    """Status, progress, result and segments."""
    encoding = context.queries.encoding(owner.id, encoding_id)
    units = context.queries.units(owner.id, encoding_id)
    progress = progress_of(encoding, units, measure_load(context.database, encoding))
    deliveries = context.queries.deliveries(owner.id, encoding_id)
    return EncodingDetail.with_units(encoding, units, progress, deliveries)


@router.delete(
    "/encodings/{encoding_id}",
    status_code=202,
    summary="Cancel",
    responses=documented(NotFound, IllegalTransition),
)
def cancel(encoding_id: str, context: Here, owner: Owner) -> EncodingView:
    """It is cancelled once the workers that are at it have stopped, which takes seconds."""
    return EncodingView.of(commands.cancel(context.database, owner.id, encoding_id))


@router.post(
    "/encodings/{encoding_id}/retry",
    status_code=202,
    summary="Try again",
    responses=documented(NotFound, IllegalTransition),
)
def retry(encoding_id: str, context: Here, owner: Owner) -> EncodingView:
    """Segments that are finished stay finished."""
    return EncodingView.of(commands.retry(context.database, context.queue, owner.id, encoding_id))


@router.get(
    "/encodings/{encoding_id}/stream",
    summary="Download the stream",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {}}},
        206: {"description": "the range asked for"},
        307: {"description": "a link into the bucket that expires"},
        416: {"description": "the range begins after the last byte"},
        **documented(NotFound, Conflict),
    },
)
def download(
    encoding_id: str,
    context: Here,
    owner: Owner,
    range_header: RangeHeader = None,
    *,
    direct: Direct = False,
) -> Response:
    """Bytes, with ranges; or a redirection to where they are."""
    encoding = context.queries.encoding(owner.id, encoding_id)
    if encoding.stream_key is None:
        raise Conflict(f"encoding {encoding_id} is {encoding.status}; it has no stream")
    store, filename = context.locations.own, f"{encoding_id}.nrv"
    if direct or isinstance(store, LocalObjectStore):
        return serve(store, encoding.stream_key, range_header, filename=filename)
    seconds = context.settings.storage.link_seconds
    return RedirectResponse(
        store.link_to_get(encoding.stream_key, seconds=seconds, filename=filename)
    )


def _submit(
    context: Context, owner_id: str, wanted: NewEncoding, idempotency_key: str | None
) -> Encoding:
    check_source(wanted.source, context.settings.storage)
    if wanted.callback_url is not None:
        context.targets.check(wanted.callback_url)
    context.uploads.require_complete(owner_id, wanted.source)
    submission = Submission(
        owner_id=owner_id,
        source=wanted.source,
        settings=wanted.settings(),
        priority=wanted.priority,
        labels=tuple(wanted.labels),
        callback_url=wanted.callback_url,
        idempotency_key=idempotency_key,
    )
    return commands.submit(context.database, context.queue, submission)


def _take_file(context: Context, owner_id: str, form: FormData) -> NewEncoding:
    """Store the file of a form; its other fields are the options."""
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise InvalidRequest("the form has no file in the field 'file'")
    fields: dict[str, Any] = {
        name: form.getlist(name) if name == "labels" else form[name]
        for name in form
        if name != "file"
    }
    options = _validated(EncodingOptions, fields)  # before the file is stored
    upload = context.uploads.store_whole(owner_id, file.file)
    return NewEncoding(**options.model_dump(), source=upload.source)


def _parse(model: type[NewEncoding], body: bytes) -> NewEncoding:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise InvalidRequest(sentence(error.errors())) from None


def _validated(model: type[EncodingOptions], fields: dict[str, Any]) -> EncodingOptions:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise InvalidRequest(sentence(error.errors())) from None
