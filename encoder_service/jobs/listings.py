"""Listings: the search of a batch for its objects, as workers and the sweeper see it.

A listing is one long piece of work with a cursor. Each page of it is one transaction: the
encodings, the cursor behind them and the longer lease are stored together or not at all, so whoever
continues after a lost worker neither misses an object nor submits one twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, select, update

from encoder_service.database import Database, db_now
from encoder_service.errors import LeaseLost
from encoder_service.jobs.batches import change_listing, submission_of
from encoder_service.jobs.records import Batch, Failure, Message, Submission
from encoder_service.jobs.recovery import NOBODY_CAME, WORKER_ENDED
from encoder_service.jobs.rows import batch_from
from encoder_service.jobs.states import (
    Event,
    ListingStatus,
    Verdict,
    judge_error,
    judge_lost_lease,
    pause_seconds,
)
from encoder_service.jobs.submissions import insert_encoding, plan_of
from encoder_service.settings import JobSettings
from encoder_service.storage.base import ObjectInfo
from encoder_service.tables import batches, encodings


class ListingRepository:
    """The listings of every batch, as workers and the sweeper see them."""

    def __init__(self, database: Database, settings: JobSettings) -> None:
        self.database = database
        self.settings = settings

    def lease(self, batch_id: str, worker: str) -> Batch | None:
        """Win the right to search; None when there is nothing to do."""
        with self.database.writing() as connection:
            return change_listing(
                connection,
                batch_id,
                Event.LEASED,
                batches.c.not_before <= db_now(),
                attempt=batches.c.attempt + 1,
                lease_owner=worker,
                lease_expires_at=db_now(self.settings.lease_seconds),
            )

    def submit_page(
        self, lease: Batch, objects: Sequence[ObjectInfo], *, cursor: str
    ) -> list[Message]:
        """Submit what a page of the listing holds and move the cursor behind it.

        Args:
            lease: from `lease`.
            objects: those of the page that belong to the batch.
            cursor: the last key of the page.

        Raises:
            LeaseLost: another attempt has taken over; nothing was stored.
        """
        submissions = [submission_of(lease, each) for each in objects]
        with self.database.writing() as connection:
            advanced = connection.execute(
                update(batches)
                .where(*_held(lease))
                .values(
                    cursor=cursor,
                    num_objects=batches.c.num_objects + len(submissions),
                    errors=0,  # what counts is failing again and again at one place
                    lost_leases=0,
                    lease_expires_at=db_now(self.settings.lease_seconds),
                )
            )
            if advanced.rowcount == 0:
                raise _lost(lease)
            known = _known(connection, submissions)
            made = [
                insert_encoding(connection, each)
                for each in submissions
                if each.idempotency_key not in known
            ]
        return [Message(unit=plan_of(each.id), priority=each.priority) for each in made]

    def finish(self, lease: Batch) -> None:
        """Note that every object was looked at."""
        mine = batches.c.attempt == lease.attempt
        with self.database.writing() as connection:
            if change_listing(connection, lease.id, Event.FINISHED, mine) is None:
                raise _lost(lease)

    def fail(self, lease: Batch, failure: Failure) -> Verdict:
        """End an attempt with an error, which counts; the next one goes on at the cursor."""
        with self.database.writing() as connection:
            row = connection.execute(select(batches).where(*_held(lease))).one_or_none()
            if row is None:
                raise _lost(lease)
            errors = row.errors + 1
            verdict = judge_error(
                errors,
                max_errors=self.settings.max_errors,
                can_help=failure.can_help,
                fallback_left=False,
            )
            event = Event.GAVE_UP if verdict is Verdict.GIVE_UP else Event.ERRED
            self._end(connection, batch_from(row), event, failure, errors=errors)
        return verdict

    def release(self, lease: Batch, *, pause_seconds: float) -> None:
        """Give the search back without counting anything."""
        with self.database.writing() as connection:
            change_listing(
                connection,
                lease.id,
                Event.RELEASED,
                batches.c.attempt == lease.attempt,
                not_before=db_now(pause_seconds),
                sent_at=None,
            )

    def expire(self, limit: int) -> list[Batch]:
        """Take searches back from workers that stopped; returns them as they were."""
        return self._take_back(batches.c.lease_expires_at < db_now(), NOBODY_CAME, limit)

    def take_back(self, worker: str) -> list[Batch]:
        """Take searches back from a worker that is known to be gone; see `Recovery.take_back`."""
        return self._take_back(batches.c.lease_owner == worker, WORKER_ENDED, limit=None)

    def _take_back(
        self, lost: ColumnElement[bool], reason: Failure, limit: int | None
    ) -> list[Batch]:
        leased = select(batches).where(batches.c.listing == ListingStatus.LEASED, lost)
        with self.database.reading() as connection:
            rows = connection.execute(leased.limit(limit)).all()
        return [batch for batch in map(batch_from, rows) if self._lose(batch, lost, reason)]

    def _lose(self, batch: Batch, still: ColumnElement[bool], reason: Failure) -> bool:
        lost = batch.lost_leases + 1
        verdict = judge_lost_lease(
            lost, max_lost_leases=self.settings.max_lost_leases, fallback_left=False
        )
        event = Event.GAVE_UP if verdict is Verdict.GIVE_UP else Event.LEASE_LOST
        with self.database.writing() as connection:
            return self._end(connection, batch, event, reason, still, lost_leases=lost)

    def claim_due(self, limit: int) -> list[Batch]:
        """Batches whose message is missing, lost or old; see `Recovery.claim_due`."""
        old = batches.c.sent_at < db_now(-self.settings.resend_seconds)
        due = (
            select(batches.c.id)
            .where(
                batches.c.listing == ListingStatus.QUEUED,
                batches.c.not_before <= db_now(),
                batches.c.sent_at.is_(None) | old,
            )
            .order_by(batches.c.priority, batches.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        with self.database.writing() as connection:
            ids = connection.execute(due).scalars().all()
            claimed = update(batches).where(batches.c.id.in_(ids)).values(sent_at=db_now())
            rows = connection.execute(claimed.returning(*batches.c)).all() if ids else []
        return [batch_from(row) for row in rows]

    def _end(
        self,
        connection: Connection,
        batch: Batch,
        event: Event,
        failure: Failure,
        *conditions: ColumnElement[bool],
        **values: Any,
    ) -> bool:
        pause = pause_seconds(
            batch.errors + batch.lost_leases + 1,
            first=self.settings.retry_seconds,
            longest=self.settings.max_retry_seconds,
        )
        changed = change_listing(
            connection,
            batch.id,
            event,
            batches.c.attempt == batch.attempt,
            *conditions,
            not_before=db_now(pause),
            sent_at=None,
            error_code=failure.code,
            error_message=failure.message,
            **values,
        )
        return changed is not None


def _known(connection: Connection, submissions: Sequence[Submission]) -> set[str | None]:
    if not submissions:
        return set()
    query = select(encodings.c.idempotency_key).where(
        encodings.c.owner_id == submissions[0].owner_id,
        encodings.c.idempotency_key.in_([each.idempotency_key for each in submissions]),
    )
    return set(connection.execute(query).scalars())


def _held(lease: Batch) -> tuple[ColumnElement[bool], ...]:
    return (
        batches.c.id == lease.id,
        batches.c.listing == ListingStatus.LEASED,
        batches.c.attempt == lease.attempt,
    )


def _lost(lease: Batch) -> LeaseLost:
    return LeaseLost(f"attempt {lease.attempt} no longer holds the listing of {lease.id}")
