"""What users and operators can do: submit, cancel, retry, recover. Used by API, CLI and sweeper.

Each command commits first and sends messages afterwards, so that no worker hears of a row that is
not there yet. When the broker is down the work is stored all the same and sent by the sweeper.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Connection, select, update
from sqlalchemy.exc import IntegrityError

from encoder_service.database import Database, db_now
from encoder_service.errors import IllegalTransition, NotFound, QueueUnavailable
from encoder_service.jobs.batches import change_listing, open_batch
from encoder_service.jobs.listings import ListingRepository
from encoder_service.jobs.queries import JobQueries
from encoder_service.jobs.records import Batch, BatchSubmission, Encoding, Message, Submission
from encoder_service.jobs.recovery import Recovery
from encoder_service.jobs.rows import unit_from, unit_key
from encoder_service.jobs.states import EncodingStatus, Event, ListingStatus, UnitStatus
from encoder_service.jobs.submissions import find_earlier, insert_encoding, plan_of
from encoder_service.jobs.transitions import LockedEncoding
from encoder_service.queue import JobQueue
from encoder_service.settings import JobSettings
from encoder_service.tables import encodings, units
from encoder_service.telemetry import fields

log = logging.getLogger(__name__)

SWEEP_LIMIT = 200


def submit(database: Database, queue: JobQueue, submission: Submission) -> Encoding:
    """Store an encoding and wake a worker up.

    With an idempotency key, the same submission made again returns the encoding that the first one
    made, whatever has become of it.

    Raises:
        IdempotencyMismatch: the key was used for a different submission.
    """
    earlier = find_earlier(database, submission)
    if earlier is not None:
        return earlier
    try:
        with database.writing() as connection:
            encoding = insert_encoding(connection, submission)
    except IntegrityError:
        earlier = find_earlier(database, submission)  # somebody was faster just now
        if earlier is None:
            raise
        return earlier
    send(queue, [Message(unit=plan_of(encoding.id), priority=encoding.priority)])
    return encoding


def submit_batch(database: Database, queue: JobQueue, submission: BatchSubmission) -> Batch:
    """Store a batch and wake a worker up that searches its objects.

    The same batch asked for again is continued: it keeps its encodings, and a search that has
    ended begins anew, for objects that are new or were replaced since.
    """
    batch = open_batch(database, submission)
    if batch.listing is ListingStatus.QUEUED:
        send_listings(queue, [batch])
    return batch


def cancel(database: Database, owner_id: str, encoding_id: str) -> Encoding:
    """Ask for an encoding to be cancelled; it is at once, unless workers must stop first.

    Raises:
        NotFound: there is no such encoding of this owner.
        IllegalTransition: it has succeeded or failed already.
    """
    with database.writing() as connection:
        locked = _owned(connection, owner_id, encoding_id)
        if locked.encoding.status is EncodingStatus.CANCELLED:
            return locked.encoding
        if locked.encoding.cancel_requested_at is None:
            locked.require_active()
            locked.set(cancel_requested_at=db_now())
            locked.record(Event.CANCEL_REQUESTED)
        locked.cancel_if_idle()
        return locked.encoding


def cancel_batch(database: Database, owner_id: str, batch_id: str) -> Batch:
    """Ask for every encoding of a batch to be cancelled, and look for no more objects.

    One short transaction each: whoever stops in the middle and asks again continues. The same
    batch submitted again begins anew with the objects that no encoding was made of yet.

    Raises:
        NotFound: there is no such batch of this owner.
    """
    queries = JobQueries(database)
    queries.batch(owner_id, batch_id)
    with database.writing() as connection:
        change_listing(
            connection,
            batch_id,
            Event.CANCELLED,
            error_code="batch.cancelled",
            error_message="the batch was cancelled before every object was found",
        )
    for encoding_id in queries.active_of_batch(batch_id):
        with suppress(IllegalTransition):  # it has ended meanwhile
            cancel(database, owner_id, encoding_id)
    return queries.batch(owner_id, batch_id)


def retry(database: Database, queue: JobQueue, owner_id: str, encoding_id: str) -> Encoding:
    """Try a failed or cancelled encoding again; segments that are done stay done.

    Raises:
        NotFound: there is no such encoding of this owner.
        IllegalTransition: it is neither failed nor cancelled.
    """
    with database.writing() as connection:
        locked = _owned(connection, owner_id, encoding_id)
        locked.change(
            Event.RETRIED,
            retries=encodings.c.retries + 1,
            cancel_requested_at=None,
            error_code=None,
            error_message=None,
            finished_at=None,
        )
        messages = _requeue(connection, locked)
    send(queue, messages)
    return locked.encoding


@dataclass(frozen=True, kw_only=True, slots=True)
class Recovered:
    """What one sweep did."""

    expired: int  # leases taken back
    sent: int  # messages sent (again)


def recover(jobs: Recovery, queue: JobQueue) -> Recovered:
    """Take expired leases back and send missing messages; any number of sweepers may run."""
    expired = jobs.expire(SWEEP_LIMIT)
    for unit in expired:
        log.warning(
            "lease expired",
            extra=fields(unit=str(unit.key), attempt=unit.attempt, worker=unit.lease_owner),
        )
    messages = [*jobs.claim_due(SWEEP_LIMIT), *_lost(jobs, queue)]
    send(queue, messages)
    listings = ListingRepository(jobs.database, jobs.settings)
    lost = listings.expire(SWEEP_LIMIT)
    for batch in lost:
        log.warning("lease expired", extra=fields(batch_id=batch.id, attempt=batch.attempt))
    waiting = listings.claim_due(SWEEP_LIMIT)
    send_listings(queue, waiting)
    return Recovered(expired=len(expired) + len(lost), sent=len(messages) + len(waiting))


def _lost(jobs: Recovery, queue: JobQueue) -> list[Message]:
    """Messages that were sent, that nobody acted on, and that are not in the broker any more."""
    try:
        lines = queue.depths()
    except QueueUnavailable as error:
        log.warning("the broker cannot be looked at: %s", error)
        return []
    return [
        message
        for kinds, in_line in lines.items()
        for message in jobs.claim_again(kinds, in_line, SWEEP_LIMIT)
    ]


def take_back(database: Database, settings: JobSettings, worker: str) -> list[str]:
    """End every lease of a worker that is known to be gone; returns what it had leased."""
    units_lost = Recovery(database, settings).take_back(worker)
    listings_lost = ListingRepository(database, settings).take_back(worker)
    return [*(str(unit.key) for unit in units_lost), *(batch.id for batch in listings_lost)]


def send(queue: JobQueue, messages: Iterable[Message]) -> None:
    """Send messages after a commit; what the broker does not take, the sweeper sends later."""
    for message in messages:
        try:
            queue.send(message)
        except QueueUnavailable as error:
            log.warning("message not sent", extra=fields(unit=str(message.unit), reason=str(error)))
            return


def send_listings(queue: JobQueue, batches: Iterable[Batch]) -> None:
    """Like `send`, for the listings of batches."""
    for batch in batches:
        try:
            queue.send_listing(batch.id, priority=batch.priority)
        except QueueUnavailable as error:
            log.warning("message not sent", extra=fields(batch_id=batch.id, reason=str(error)))
            return


def _owned(connection: Connection, owner_id: str, encoding_id: str) -> LockedEncoding:
    locked = LockedEncoding(connection, encoding_id)
    if locked.encoding.owner_id != owner_id:
        raise NotFound(f"there is no encoding {encoding_id}")
    return locked


def _requeue(connection: Connection, locked: LockedEncoding) -> list[Message]:
    """Give failed units a fresh start and make every waiting one due now."""
    mine = units.c.encoding_id == locked.encoding.id
    failed = select(units).where(mine, units.c.status == UnitStatus.FAILED)
    for unit in map(unit_from, connection.execute(failed).all()):
        locked.change_unit(
            unit.key,
            Event.RETRIED,
            errors=0,
            lost_leases=0,
            error_code=None,
            error_message=None,
        )
    waiting = (
        update(units)
        .where(mine, units.c.status == UnitStatus.QUEUED)
        .values(not_before=db_now(), sent_at=db_now())
        .returning(units.c.encoding_id, units.c.kind, units.c.index, units.c.attempt)
    )
    priority = locked.encoding.priority
    messages = (
        Message(unit=unit_key(row), priority=priority, attempt=row.attempt + 1)
        for row in connection.execute(waiting)
    )
    return sorted(messages, key=lambda message: message.unit)
