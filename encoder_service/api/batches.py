"""``/v1/batches``: every object below a prefix of a bucket, encoded in one way."""

from __future__ import annotations

from fastapi import APIRouter, Response

from encoder_service.api.batch_schemas import BatchView
from encoder_service.api.context import Context, Here, Owner
from encoder_service.api.problems import documented
from encoder_service.api.schemas import NewBatch
from encoder_service.errors import AccessDenied, NotFound
from encoder_service.jobs import commands
from encoder_service.jobs.records import Batch, BatchSubmission
from encoder_service.storage.locations import check_prefix

router = APIRouter(tags=["batches"])


@router.post(
    "/batches",
    status_code=202,
    summary="Submit everything below a prefix",
    responses=documented(AccessDenied),
)
def submit(wanted: NewBatch, response: Response, context: Here, owner: Owner) -> BatchView:
    """The same batch asked for again is continued; each version of an object is encoded once."""
    for place in (wanted.source, wanted.out):
        if place is not None:
            check_prefix(place, context.settings.storage)
    if wanted.callback_url is not None:
        context.targets.check(wanted.callback_url)
    submission = BatchSubmission(
        owner_id=owner.id,
        source=wanted.source,
        include=wanted.include,
        out=wanted.out,
        settings=wanted.settings(),
        priority=wanted.priority,
        labels=tuple(wanted.labels),
        callback_url=wanted.callback_url,
    )
    batch = commands.submit_batch(context.database, context.queue, submission)
    response.headers["Location"] = f"/v1/batches/{batch.id}"
    return _view(context, batch)


@router.get("/batches/{batch_id}", summary="One batch", responses=documented(NotFound))
def get_batch(batch_id: str, context: Here, owner: Owner) -> BatchView:
    """How far it is; its encodings are listed by `GET /v1/encodings?batch=ID`."""
    return _view(context, context.queries.batch(owner.id, batch_id))


@router.delete(
    "/batches/{batch_id}", status_code=202, summary="Cancel", responses=documented(NotFound)
)
def cancel(batch_id: str, context: Here, owner: Owner) -> BatchView:
    """No more objects are searched, and encodings that have not ended are cancelled."""
    return _view(context, commands.cancel_batch(context.database, owner.id, batch_id))


def _view(context: Context, batch: Batch) -> BatchView:
    return BatchView.of(batch, context.queries.count_batch(batch.id))
