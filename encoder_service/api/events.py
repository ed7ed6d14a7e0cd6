"""``/v1/encodings/{id}/events``: the history of an encoding as it happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from fastapi import APIRouter, Header
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from encoder_service.api.context import Context, Here, Owner
from encoder_service.api.problems import documented
from encoder_service.api.schemas import EventView, ProgressView
from encoder_service.errors import NotFound
from encoder_service.jobs.load import measure_load
from encoder_service.jobs.progress import progress_of
from encoder_service.jobs.records import HistoryEvent
from encoder_service.jobs.states import ACTIVE

router = APIRouter(tags=["encodings"])

LastEventId = Annotated[
    int, Header(ge=0, le=2**31 - 1, description="sequence number of the last event seen")
]


@router.get(
    "/encodings/{encoding_id}/events",
    summary="Watch an encoding",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "events until it has ended"},
        **documented(NotFound),
    },
)
async def watch(
    encoding_id: str, context: Here, owner: Owner, last_event_id: LastEventId = 0
) -> StreamingResponse:
    """Server-sent events: every row of the history, and `progress` whenever it changes."""
    await run_in_threadpool(context.queries.encoding, owner.id, encoding_id)
    return StreamingResponse(
        _follow(context, owner.id, encoding_id, last_event_id),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _follow(
    context: Context, owner_id: str, encoding_id: str, sequence: int
) -> AsyncIterator[str]:
    shown = ""
    while True:
        ended, texts, progress, sequence = await run_in_threadpool(
            _look, context, owner_id, encoding_id, sequence
        )
        for text in texts:
            yield text
        if progress != shown:
            shown = progress
            yield f"event: progress\ndata: {progress}\n\n"
        if ended:
            return
        await anyio.sleep(context.settings.api.events_seconds)


def _look(
    context: Context, owner_id: str, encoding_id: str, sequence: int
) -> tuple[bool, list[str], str, int]:
    """Whether it has ended, the new events, the progress, and the last sequence number."""
    queries = context.queries
    encoding = queries.encoding(owner_id, encoding_id)  # first: what ends it is an event, too
    events = queries.events(owner_id, encoding_id, after_sequence=sequence)
    units = queries.units(owner_id, encoding_id)
    progress = progress_of(encoding, units, measure_load(context.database, encoding))
    view = ProgressView(
        frames_done=progress.frames_done,
        frames_total=progress.frames_total,
        eta_seconds=None if progress.eta_seconds is None else round(progress.eta_seconds),
    )
    texts = [_text(each) for each in events]
    last = events[-1].sequence if events else sequence
    return encoding.status not in ACTIVE, texts, view.model_dump_json(), last


def _text(event: HistoryEvent) -> str:
    data = EventView.of(event).model_dump_json()
    return f"id: {event.sequence}\nevent: {event.event}\ndata: {data}\n\n"
