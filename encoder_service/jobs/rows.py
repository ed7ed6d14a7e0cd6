"""Rows of the job tables <-> records."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Row, and_

from encoder_service.jobs.records import (
    Attempt,
    Batch,
    Callback,
    Delivery,
    Encoding,
    HistoryEvent,
    Unit,
    UnitKey,
)
from encoder_service.jobs.states import (
    CallbackStatus,
    EncodingStatus,
    Event,
    ListingStatus,
    Outcome,
    Phase,
    UnitKind,
    UnitStatus,
)
from encoder_service.tables import units

AnyRow = Row[*tuple[Any, ...]]


def matches(key: UnitKey) -> ColumnElement[bool]:
    """The condition that selects one unit."""
    return and_(
        units.c.encoding_id == key.encoding_id,
        units.c.kind == key.kind,
        units.c.index == key.index,
    )


def unit_key(row: AnyRow) -> UnitKey:
    """The key in a row that holds ``encoding_id``, ``kind`` and ``index``."""
    named = row._mapping  # noqa: SLF001 - SQLAlchemy's public name; a row's .index is a method
    return UnitKey(
        encoding_id=named["encoding_id"], kind=UnitKind(named["kind"]), index=named["index"]
    )


def encoding_from(row: AnyRow) -> Encoding:
    """A row of ``encodings``."""
    return Encoding(
        id=row.id,
        owner_id=row.owner_id,
        status=EncodingStatus(row.status),
        phase=None if row.phase is None else Phase(row.phase),
        source=row.source,
        settings=row.settings,
        priority=row.priority,
        callback_url=row.callback_url,
        batch_id=row.batch_id,
        labels=tuple(row.labels),
        plan=row.plan,
        num_frames=row.num_frames,
        retries=row.retries,
        num_events=row.num_events,
        result=row.result,
        stream_key=row.stream_key,
        error_code=row.error_code,
        error_message=row.error_message,
        cancel_requested_at=row.cancel_requested_at,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        destination=row.destination,
    )


def unit_from(row: AnyRow) -> Unit:
    """A row of ``units``."""
    return Unit(
        key=unit_key(row),
        status=UnitStatus(row.status),
        num_frames=row.num_frames,
        progress_frames=row.progress_frames,
        fallback_preset=row.fallback_preset,
        result=row.result,
        attempt=row.attempt,
        lease_owner=row.lease_owner,
        lease_expires_at=row.lease_expires_at,
        errors=row.errors,
        lost_leases=row.lost_leases,
        error_code=row.error_code,
        error_message=row.error_message,
    )


def attempt_from(row: AnyRow) -> Attempt:
    """A row of ``attempts``."""
    return Attempt(
        unit=unit_key(row),
        attempt=row.attempt,
        worker=row.worker,
        leased_at=row.leased_at,
        ended_at=row.ended_at,
        outcome=None if row.outcome is None else Outcome(row.outcome),
        error_code=row.error_code,
        error_message=row.error_message,
    )


def event_from(row: AnyRow) -> HistoryEvent:
    """A row of ``events``."""
    return HistoryEvent(
        encoding_id=row.encoding_id,
        sequence=row.sequence,
        event=Event(row.event),
        at=row.at,
        unit=None if row.kind is None else unit_key(row),
        attempt=row.attempt,
        detail=row.detail,
    )


def batch_from(row: AnyRow) -> Batch:
    """A row of ``batches``."""
    return Batch(
        id=row.id,
        owner_id=row.owner_id,
        source=row.source,
        include=row.include,
        out=row.out,
        settings=row.settings,
        priority=row.priority,
        labels=tuple(row.labels),
        callback_url=row.callback_url,
        listing=ListingStatus(row.listing),
        cursor=row.cursor,
        num_objects=row.num_objects,
        attempt=row.attempt,
        errors=row.errors,
        lost_leases=row.lost_leases,
        error_code=row.error_code,
        error_message=row.error_message,
        created_at=row.created_at,
    )


def callback_from(row: AnyRow) -> Callback:
    """A row of ``callbacks``."""
    return Callback(
        id=row.id,
        encoding_id=row.encoding_id,
        owner_id=row.owner_id,
        url=row.url,
        payload=row.payload,
        attempts=row.attempts,
    )


def delivery_from(row: AnyRow) -> Delivery:
    """A row of ``callbacks``, as the encoding's owner sees it."""
    status = CallbackStatus(row.status)
    return Delivery(
        id=row.id,
        status=status,
        attempts=row.attempts,
        last_error=row.last_error,
        next_attempt_at=row.not_before if status is CallbackStatus.PENDING else None,
        ended_at=row.ended_at,
    )
