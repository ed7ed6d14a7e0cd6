"""New encodings: their rows, and what makes asking twice harmless."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Connection, insert, select

from encoder_service.database import Database, db_now
from encoder_service.errors import IdempotencyMismatch
from encoder_service.jobs.records import BatchSubmission, Encoding, Submission, UnitKey, new_id
from encoder_service.jobs.rows import encoding_from
from encoder_service.jobs.states import EncodingStatus, Event, UnitKind, UnitStatus
from encoder_service.jobs.transitions import event_row
from encoder_service.tables import encodings, labels, units


def digest_of(submission: Submission | BatchSubmission) -> str:
    """Equal for equal submissions."""
    text = json.dumps(asdict(submission), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def find_earlier(database: Database, submission: Submission) -> Encoding | None:
    """What this owner made with this idempotency key before.

    Raises:
        IdempotencyMismatch: the key was used for a different submission.
    """
    if submission.idempotency_key is None:
        return None
    query = select(encodings).where(
        encodings.c.owner_id == submission.owner_id,
        encodings.c.idempotency_key == submission.idempotency_key,
    )
    with database.reading() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        return None
    if row.request_sha256 != digest_of(submission):
        raise IdempotencyMismatch(
            f"the idempotency key {submission.idempotency_key!r} was used for another submission"
        )
    return encoding_from(row)


def insert_encoding(connection: Connection, submission: Submission) -> Encoding:
    """Add the rows of a queued encoding; its plan is the first unit that a worker may take."""
    encoding_id = new_id("enc")
    statement = insert(encodings).values(
        **asdict(submission),
        id=encoding_id,
        status=EncodingStatus.QUEUED,
        request_sha256=digest_of(submission),
        retries=0,
        num_events=1,
        created_at=db_now(),
    )
    row = connection.execute(statement.returning(*encodings.c)).one()
    connection.execute(event_row(encoding_id, 1, Event.SUBMITTED))
    rows = [{"label": label, "encoding_id": encoding_id} for label in set(submission.labels)]
    if rows:
        connection.execute(insert(labels), rows)
    add_units(connection, [plan_of(encoding_id)], [0])
    return encoding_from(row)


def plan_of(encoding_id: str) -> UnitKey:
    """The first unit of an encoding."""
    return UnitKey(encoding_id=encoding_id, kind=UnitKind.PLAN)


def add_units(
    connection: Connection,
    keys: Sequence[UnitKey],
    num_frames: Sequence[int],
    *,
    fallback_preset: str | None = None,
) -> None:
    """Insert queued units whose messages are about to be sent."""
    if not keys:
        return
    connection.execute(
        insert(units).values(
            status=UnitStatus.QUEUED,
            progress_frames=0,
            fallback_preset=fallback_preset,
            attempt=0,
            not_before=db_now(),
            sent_at=db_now(),
            errors=0,
            lost_leases=0,
        ),
        [
            {
                "encoding_id": key.encoding_id,
                "kind": key.kind,
                "index": key.index,
                "num_frames": frames,
            }
            for key, frames in zip(keys, num_frames, strict=True)
        ],
    )
