"""What an encoding shares its workers with, measured in the job tables."""

from __future__ import annotations

from sqlalchemy import Connection, Select, Subquery, and_, case, func, or_, select

from encoder_service.database import Database
from encoder_service.jobs.progress import Load, Sample
from encoder_service.jobs.records import Encoding
from encoder_service.jobs.states import ACTIVE, Outcome, UnitKind, UnitStatus
from encoder_service.tables import attempts, encodings, units

NUM_SAMPLES = 50
MOST_AHEAD = 1000  # encodings; counting more would cost more than the answer is worth


def measure_load(database: Database, encoding: Encoding) -> Load | None:
    """The load around an encoding; None when it has ended, or waits behind too many others."""
    if encoding.status not in ACTIVE:
        return None
    with database.reading() as connection:
        ahead = _ahead(encoding)
        counted = connection.execute(_count(ahead)).one()
        if counted.encodings > MOST_AHEAD:
            return None
        return Load(
            samples=_samples(connection),
            workers=_workers(connection),
            frames_ahead=_frames_left(connection, ahead),
            unplanned_ahead=counted.unplanned,
        )


def _samples(connection: Connection) -> list[Sample]:
    """The segments that were encoded last."""
    query = (
        select(
            attempts.c.encoding_id,
            attempts.c.leased_at,
            attempts.c.ended_at,
            units.c.num_frames,
            encodings.c.num_frames.label("total_frames"),
            encodings.c.settings,
        )
        .join(
            units,
            and_(
                units.c.encoding_id == attempts.c.encoding_id,
                units.c.kind == attempts.c.kind,
                units.c.index == attempts.c.index,
            ),
        )
        .join(encodings, encodings.c.id == attempts.c.encoding_id)
        .where(attempts.c.kind == UnitKind.SEGMENT, attempts.c.outcome == Outcome.DONE)
        .order_by(attempts.c.ended_at.desc())
        .limit(NUM_SAMPLES)
    )
    return [
        Sample(
            encoding_id=row.encoding_id,
            preset=row.settings.get("preset"),
            num_frames=row.num_frames,
            total_frames=row.total_frames,
            seconds=(row.ended_at - row.leased_at).total_seconds(),
        )
        for row in connection.execute(query)
    ]


def _workers(connection: Connection) -> int:
    leased = (units.c.status == UnitStatus.LEASED, units.c.kind == UnitKind.SEGMENT)
    return int(connection.execute(select(func.count()).where(*leased)).scalar_one())


def _ahead(encoding: Encoding) -> Subquery:
    """Encodings that are served before this one: more urgent ones, then earlier ones."""
    first = or_(
        encodings.c.priority < encoding.priority,
        and_(encodings.c.priority == encoding.priority, encodings.c.id < encoding.id),
    )
    return (
        select(encodings.c.id, encodings.c.num_frames)
        .where(encodings.c.status.in_(ACTIVE), first)
        .limit(MOST_AHEAD + 1)
        .subquery()
    )


def _count(ahead: Subquery) -> Select[int, int]:
    planned = func.count(ahead.c.num_frames)
    number = func.count()
    return select(number.label("encodings"), (number - planned).label("unplanned")).select_from(
        ahead
    )


def _frames_left(connection: Connection, ahead: Subquery) -> int:
    running = case((units.c.status == UnitStatus.LEASED, units.c.progress_frames), else_=0)
    left = func.sum(units.c.num_frames - running)
    query = (
        select(func.coalesce(left, 0))
        .join(ahead, ahead.c.id == units.c.encoding_id)
        .where(
            units.c.kind == UnitKind.SEGMENT,
            units.c.status.in_([UnitStatus.QUEUED, UnitStatus.LEASED]),
        )
    )
    return int(connection.execute(query).scalar_one())
