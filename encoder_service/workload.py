"""What waits, what is being worked on, and how it goes: the numbers that operators watch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from encoder_service.database import Database, db_now
from encoder_service.jobs.states import ACTIVE, Outcome, UnitKind, UnitStatus
from encoder_service.tables import attempts, encodings, units

RECENT_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """Units of one kind that could be worked on now."""

    units: int
    oldest_seconds: float  # since the unit that waits longest was due


NOTHING = Waiting(units=0, oldest_seconds=0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """A look at the job tables at one moment."""

    encodings: Mapping[str, int]  # by status
    waiting: Mapping[str, Waiting]  # by kind of unit
    leased: Mapping[str, int]  # by kind of unit
    overdue: int  # leases that have run out and were not taken back yet
    attempts: Mapping[tuple[str, str, str], int]  # of the last hour: kind, outcome, error code


def measure(database: Database) -> Workload:
    """Count; a handful of queries that indexes answer.

    Raises:
        DatabaseUnavailable: it does not answer.
    """
    with database.reading() as connection:
        return Workload(
            encodings=_encodings(connection),
            waiting=_waiting(connection),
            leased=_leased(connection),
            overdue=_overdue(connection),
            attempts=_attempts(connection),
        )


def _encodings(connection: Connection) -> dict[str, int]:
    query = select(encodings.c.status, func.count().label("number")).group_by(encodings.c.status)
    return {row.status: row.number for row in connection.execute(query)}


def _waiting(connection: Connection) -> dict[str, Waiting]:
    query = (
        select(
            units.c.kind,
            func.count().label("number"),
            func.min(units.c.not_before).label("oldest"),
            db_now().label("now"),
        )
        .join(encodings, encodings.c.id == units.c.encoding_id)
        .where(
            units.c.status == UnitStatus.QUEUED,
            units.c.not_before <= db_now(),
            encodings.c.status.in_(ACTIVE),
        )
        .group_by(units.c.kind)
    )
    return {
        row.kind: Waiting(units=row.number, oldest_seconds=(row.now - row.oldest).total_seconds())
        for row in connection.execute(query)
    }


def _leased(connection: Connection) -> dict[str, int]:
    query = (
        select(units.c.kind, func.count().label("number"))
        .where(units.c.status == UnitStatus.LEASED)
        .group_by(units.c.kind)
    )
    return {row.kind: row.number for row in connection.execute(query)}


def _overdue(connection: Connection) -> int:
    overdue = (units.c.status == UnitStatus.LEASED, units.c.lease_expires_at < db_now())
    return connection.execute(select(func.count()).select_from(units).where(*overdue)).scalar_one()


def _attempts(connection: Connection) -> dict[tuple[str, str, str], int]:
    reason = func.coalesce(attempts.c.error_code, "")
    query = (
        select(attempts.c.kind, attempts.c.outcome, reason, func.count())
        .where(
            attempts.c.kind.in_(UnitKind),  # all of them: named for the index's sake
            attempts.c.outcome.in_(Outcome),
            attempts.c.ended_at > db_now(-RECENT_SECONDS),
        )
        .group_by(attempts.c.kind, attempts.c.outcome, reason)
    )
    return {(kind, out, code): number for kind, out, code, number in connection.execute(query)}
