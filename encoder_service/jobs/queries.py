"""What can be asked about encodings. Every question names the owner who asks."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from encoder_service.database import Database
from encoder_service.errors import NotFound
from encoder_service.jobs.records import Attempt, Batch, Delivery, Encoding, HistoryEvent, Unit
from encoder_service.jobs.rows import (
    attempt_from,
    batch_from,
    delivery_from,
    encoding_from,
    event_from,
    unit_from,
)
from encoder_service.jobs.states import ACTIVE, EncodingStatus
from encoder_service.tables import attempts, batches, callbacks, encodings, events, labels, units


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """Which encodings to list; None means any."""

    status: EncodingStatus | None = None
    label: str | None = None
    batch_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Some encodings, newest first, and where the next page begins."""

    items: tuple[Encoding, ...]
    next_cursor: str | None  # None on the last page


class JobQueries:
    """Reads the job tables."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def encoding(self, owner_id: str, encoding_id: str) -> Encoding:
        """One encoding.

        Raises:
            NotFound: there is no such encoding of this owner.
        """
        with self.database.reading() as connection:
            return _encoding(connection, owner_id, encoding_id)

    def encodings(
        self, owner_id: str, wanted: Filter, *, limit: int, cursor: str | None = None
    ) -> Page:
        """Encodings of one owner, newest first.

        Args:
            owner_id: whose.
            wanted: which.
            limit: at most so many, at least 1.
            cursor: ``next_cursor`` of the page before; rows added meanwhile shift nothing.
        """
        query = select(encodings).where(encodings.c.owner_id == owner_id)
        if wanted.status is not None:
            query = query.where(encodings.c.status == wanted.status)
        if wanted.batch_id is not None:
            query = query.where(encodings.c.batch_id == wanted.batch_id)
        if wanted.label is not None:
            query = query.join(labels).where(labels.c.label == wanted.label)
        if cursor is not None:
            query = query.where(encodings.c.id < cursor)
        query = query.order_by(encodings.c.id.desc()).limit(limit + 1)
        with self.database.reading() as connection:
            found = [encoding_from(row) for row in connection.execute(query)]
        more = len(found) > limit
        return Page(items=tuple(found[:limit]), next_cursor=found[limit - 1].id if more else None)

    def units(self, owner_id: str, encoding_id: str) -> list[Unit]:
        """Every unit of an encoding as it stands: plan, segments in order, assembling."""
        query = select(units).where(units.c.encoding_id == encoding_id)
        with self.database.reading() as connection:
            _encoding(connection, owner_id, encoding_id)
            found = [unit_from(row) for row in connection.execute(query)]
        order = {kind: position for position, kind in enumerate(("plan", "segment", "assemble"))}
        return sorted(found, key=lambda unit: (order[unit.key.kind], unit.key.index))

    def attempts(self, owner_id: str, encoding_id: str) -> list[Attempt]:
        """Every attempt at a unit of an encoding, oldest first."""
        query = select(attempts).where(attempts.c.encoding_id == encoding_id)
        with self.database.reading() as connection:
            _encoding(connection, owner_id, encoding_id)
            rows = connection.execute(query.order_by(attempts.c.leased_at, attempts.c.attempt))
            return [attempt_from(row) for row in rows]

    def events(
        self, owner_id: str, encoding_id: str, *, after_sequence: int = 0
    ) -> list[HistoryEvent]:
        """The history of an encoding after a sequence number, in order."""
        query = (
            select(events)
            .where(events.c.encoding_id == encoding_id, events.c.sequence > after_sequence)
            .order_by(events.c.sequence)
        )
        with self.database.reading() as connection:
            _encoding(connection, owner_id, encoding_id)
            return [event_from(row) for row in connection.execute(query)]

    def deliveries(self, owner_id: str, encoding_id: str) -> list[Delivery]:
        """The callbacks of an encoding, one for each time it has ended, oldest first."""
        query = select(callbacks).where(callbacks.c.encoding_id == encoding_id)
        with self.database.reading() as connection:
            _encoding(connection, owner_id, encoding_id)
            rows = connection.execute(query.order_by(callbacks.c.created_at, callbacks.c.id))
            return [delivery_from(row) for row in rows]

    def batch(self, owner_id: str, batch_id: str) -> Batch:
        """One batch.

        Raises:
            NotFound: there is no such batch of this owner.
        """
        query = select(batches).where(batches.c.id == batch_id, batches.c.owner_id == owner_id)
        with self.database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound(f"there is no batch {batch_id}")
        return batch_from(row)

    def active_of_batch(self, batch_id: str) -> list[str]:
        """Ids of the encodings of a batch that may still change and nobody wants cancelled."""
        query = select(encodings.c.id).where(
            encodings.c.batch_id == batch_id,
            encodings.c.status.in_(ACTIVE),
            encodings.c.cancel_requested_at.is_(None),
        )
        with self.database.reading() as connection:
            return list(connection.execute(query.order_by(encodings.c.id)).scalars())

    def count_batch(self, batch_id: str) -> dict[str, int]:
        """Encodings of a batch by status."""
        query = (
            select(encodings.c.status, func.count().label("number"))
            .where(encodings.c.batch_id == batch_id)
            .group_by(encodings.c.status)
        )
        with self.database.reading() as connection:
            counted = {row.status: row.number for row in connection.execute(query)}
        return {status: counted.get(status, 0) for status in EncodingStatus}

    def count_encodings(self) -> dict[str, int]:
        """Encodings of all owners by status."""
        query = select(encodings.c.status, func.count().label("number")).group_by(
            encodings.c.status
        )
        with self.database.reading() as connection:
            counted = {row.status: row.number for row in connection.execute(query)}
        return {status: counted.get(status, 0) for status in EncodingStatus}

    def count_active_units(self) -> dict[tuple[str, str], int]:
        """Units of encodings that have not ended, by kind and status."""
        query = (
            select(units.c.kind, units.c.status, func.count())
            .join(encodings, encodings.c.id == units.c.encoding_id)
            .where(encodings.c.status.in_(ACTIVE))
            .group_by(units.c.kind, units.c.status)
        )
        with self.database.reading() as connection:
            return {(kind, status): count for kind, status, count in connection.execute(query)}


def _encoding(connection: Connection, owner_id: str, encoding_id: str) -> Encoding:
    query = select(encodings).where(encodings.c.id == encoding_id, encodings.c.owner_id == owner_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"there is no encoding {encoding_id}")
    return encoding_from(row)
