"""Batches: every object below a prefix becomes an encoding, each version of it once."""

from __future__ import annotations

import fnmatch
import hashlib
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from encoder_service.database import Database, db_now
from encoder_service.jobs.records import Batch, BatchSubmission, Submission, new_id
from encoder_service.jobs.rows import batch_from
from encoder_service.jobs.states import TRANSITIONS, Event, ListingStatus
from encoder_service.jobs.submissions import digest_of
from encoder_service.storage.base import ObjectInfo
from encoder_service.tables import batches

STREAM_SUFFIX = ".nrv"


def open_batch(database: Database, submission: BatchSubmission) -> Batch:
    """The batch of this submission: a new one, or the one made before, searching again."""
    fresh = {"num_objects": 0, "errors": 0, "lost_leases": 0}
    times = {"created_at": db_now(), "not_before": db_now(), "sent_at": db_now()}
    statement = insert(batches).values(
        **_columns(submission),
        **fresh,
        **times,
        id=new_id("bat"),
        listing=ListingStatus.QUEUED,
        attempt=0,
    )
    try:
        with database.writing() as connection:
            return batch_from(connection.execute(statement.returning(*batches.c)).one())
    except IntegrityError:
        return _reopen(database, submission)


def belongs(batch: Batch, key: str) -> bool:
    """Whether an object below the prefix becomes an encoding.

    Folders of the kind that some tools store as empty objects do not, nor do streams: a batch may
    write next to what it reads.
    """
    if key.endswith(("/", STREAM_SUFFIX)):
        return False
    return batch.include is None or fnmatch.fnmatchcase(_name(batch, key), batch.include)


def submission_of(batch: Batch, found: ObjectInfo) -> Submission:
    """What becomes of one version of an object."""
    bucket = batch.source.removeprefix("s3://").partition("/")[0]
    version = hashlib.sha256(f"{found.key}\0{found.etag}".encode(errors="surrogatepass"))
    out = None if batch.out is None else batch.out.rstrip("/")
    return Submission(
        owner_id=batch.owner_id,
        source=f"s3://{bucket}/{found.key}",
        settings=batch.settings,
        priority=batch.priority,
        labels=batch.labels,
        callback_url=batch.callback_url,
        batch_id=batch.id,
        # The whole name stays, so that a.mov and a.mp4 do not meet.
        destination=None if out is None else f"{out}/{_name(batch, found.key)}{STREAM_SUFFIX}",
        idempotency_key=f"{batch.id}/{version.hexdigest()}",
    )


def change_listing(
    connection: Connection,
    batch_id: str,
    event: Event,
    *conditions: ColumnElement[bool],
    **values: Any,
) -> Batch | None:
    """Take one step of the listing's state machine; None, and nothing done, if it cannot be."""
    sources, target = TRANSITIONS[ListingStatus][event]
    if target != ListingStatus.LEASED:
        values |= {"lease_owner": None, "lease_expires_at": None}
    statement = (
        update(batches)
        .where(batches.c.id == batch_id, batches.c.listing.in_(sources), *conditions)
        .values(listing=target, **values)
        .returning(*batches.c)
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else batch_from(row)


def _name(batch: Batch, key: str) -> str:
    """A key without the folder that the prefix of the batch names."""
    prefix = batch.source.removeprefix("s3://").partition("/")[2]
    return key[prefix.rfind("/") + 1 :]


def _columns(submission: BatchSubmission) -> dict[str, Any]:
    return {
        "owner_id": submission.owner_id,
        "request_sha256": digest_of(submission),
        "source": submission.source,
        "include": submission.include,
        "out": submission.out,
        "settings": dict(submission.settings),
        "priority": submission.priority,
        "labels": list(submission.labels),
        "callback_url": submission.callback_url,
    }


def _reopen(database: Database, submission: BatchSubmission) -> Batch:
    same = (
        batches.c.owner_id == submission.owner_id,
        batches.c.request_sha256 == digest_of(submission),
    )
    with database.writing() as connection:
        batch = batch_from(connection.execute(select(batches).where(*same)).one())
        again = change_listing(
            connection,
            batch.id,
            Event.RETRIED,
            cursor=None,
            num_objects=0,
            errors=0,
            lost_leases=0,
            error_code=None,
            error_message=None,
            not_before=db_now(),
            sent_at=db_now(),
        )
        return again or batch
