"""What the sweeper does: takes leases back from lost workers, finds messages that went astray."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, or_, select, tuple_, update

from encoder_service.database import Database, db_now
from encoder_service.jobs.fallback import fall_back
from encoder_service.jobs.records import Failure, Message, Unit, UnitKey
from encoder_service.jobs.rows import matches, unit_from, unit_key
from encoder_service.jobs.states import (
    ACTIVE,
    Event,
    Outcome,
    UnitKind,
    UnitStatus,
    Verdict,
    judge_lost_lease,
    pause_seconds,
)
from encoder_service.jobs.transitions import LockedEncoding
from encoder_service.settings import JobSettings
from encoder_service.tables import encodings, units

EVENT_OF = {Outcome.ERROR: Event.ERRED, Outcome.LEASE_LOST: Event.LEASE_LOST}
# The kernel ends whoever takes all memory; nobody is left then to say so.
NOBODY_CAME = Failure(
    code="lease.lost", message="the worker stopped sending heartbeats", too_much=True
)
WORKER_ENDED = Failure(code="lease.lost", message="the worker process ended", too_much=True)


class Recovery:
    """The units of work of every encoding, as the sweeper sees them.

    Workers see more of them (`JobRepository`), and end attempts in the same way.
    """

    def __init__(self, database: Database, settings: JobSettings) -> None:
        self.database = database
        self.settings = settings

    def expire(self, limit: int) -> list[Unit]:
        """Take units back from workers whose heartbeats stopped; returns them as they were."""
        return self._take_back(units.c.lease_expires_at < db_now(), NOBODY_CAME, limit)

    def take_back(self, worker: str) -> list[Unit]:
        """Take units back from a worker that is known to be gone; returns them as they were."""
        return self._take_back(units.c.lease_owner == worker, WORKER_ENDED, limit=None)

    def _take_back(
        self, lost: ColumnElement[bool], reason: Failure, limit: int | None
    ) -> list[Unit]:
        leased = select(units).where(units.c.status == UnitStatus.LEASED, lost)
        with self.database.reading() as connection:
            rows = connection.execute(leased.limit(limit)).all()
        return [unit for unit in map(unit_from, rows) if self._lose(unit, lost, reason)]

    def _lose(self, unit: Unit, still: ColumnElement[bool], reason: Failure) -> bool:
        with self.database.writing() as connection:
            locked = LockedEncoding(connection, unit.key.encoding_id)
            row = connection.execute(
                select(units).where(
                    matches(unit.key),
                    units.c.status == UnitStatus.LEASED,
                    units.c.attempt == unit.attempt,
                    still,
                )
            ).one_or_none()
            if row is None:
                return False  # a heartbeat or another sweeper was faster
            lost = unit.lost_leases + 1
            verdict = judge_lost_lease(
                lost,
                max_lost_leases=self.settings.max_lost_leases,
                fallback_left=self._fallback(locked, unit) is not None,
            )
            self._end(
                connection,
                locked,
                unit,
                verdict,
                outcome=Outcome.LEASE_LOST,
                failure=reason,
                values={"lost_leases": lost},
            )
            return True

    def claim_due(self, limit: int) -> list[Message]:
        """Units that wait and whose message was not sent yet; most urgent first.

        The caller sends their messages; nobody else will.
        """
        return self._claim(units.c.sent_at.is_(None), limit)

    def claim_again(self, kinds: Collection[UnitKind], in_line: int, limit: int) -> list[Message]:
        """Units that wait although their message was sent a while ago: it may be lost.

        As many as there are messages missing, so that a long line does not grow by being waited
        in. Which ones are missing nobody knows: most urgent first, then those not sent for longest.

        Args:
            kinds: that wait in one line.
            in_line: messages that are in that line.
            limit: at most so many.
        """
        mine = units.c.kind.in_(kinds)
        old = units.c.sent_at < db_now(-self.settings.resend_seconds)
        sent = _waiting(select(func.count()), mine, units.c.sent_at.is_not(None))
        with self.database.reading() as connection:
            missing = connection.execute(sent).scalar_one() - in_line
        return self._claim(mine & old, min(limit, missing)) if missing > 0 else []

    def _claim(self, which: ColumnElement[bool], limit: int) -> list[Message]:
        key = (units.c.encoding_id, units.c.kind, units.c.index)
        due = (
            _waiting(select(*key, units.c.attempt, encodings.c.priority), which)
            .order_by(encodings.c.priority, units.c.sent_at, *key)
            .limit(limit)
            .with_for_update(of=units, skip_locked=True)
        )
        with self.database.writing() as connection:
            rows = connection.execute(due).all()
            claimed = tuple_(*key).in_([row[:3] for row in rows])
            if rows:
                connection.execute(update(units).where(claimed).values(sent_at=db_now()))
        return [
            Message(unit=unit_key(row), priority=row.priority, attempt=row.attempt + 1)
            for row in rows
        ]

    def _fallback(self, locked: LockedEncoding, unit: Unit) -> str | None:
        """The cheaper preset that is left for a unit that took too much, if there is one."""
        preset = self.settings.fallback_preset
        usable = unit.key.kind is UnitKind.SEGMENT and unit.fallback_preset is None
        asked = locked.encoding.settings.get("preset")
        return preset if preset and usable and preset != asked else None

    def _end(
        self,
        connection: Connection,
        locked: LockedEncoding,
        unit: Unit,
        verdict: Verdict,
        *,
        outcome: Outcome,
        failure: Failure,
        values: dict[str, Any],
    ) -> None:
        """Re-queue a unit after a pause, fall back, or give up on it and fail its encoding."""
        give_up = verdict is Verdict.GIVE_UP
        pause = pause_seconds(
            unit.errors + unit.lost_leases + 1,
            first=self.settings.retry_seconds,
            longest=self.settings.max_retry_seconds,
        )
        locked.change_unit(
            unit.key,
            Event.GAVE_UP if give_up else EVENT_OF[outcome],
            units.c.attempt == unit.attempt,
            failure=failure,
            not_before=db_now(pause),
            sent_at=None,
            **values,
        )
        locked.close_attempt(unit, outcome, failure)
        preset = self._fallback(locked, unit)
        if verdict is Verdict.FALL_BACK and preset is not None and locked.accepts_work:
            fall_back(connection, locked, failure, preset)
        if give_up and locked.accepts_work:
            locked.change(
                Event.FAILED,
                phase=None,
                error_code=failure.code,
                error_message=f"{_spoken(unit.key)}: {failure.message}",
                finished_at=db_now(),
            )
        locked.cancel_if_idle()


def _waiting(query: Select[*tuple[Any, ...]], *which: ColumnElement[bool]) -> Any:
    """The query, of units that somebody could take now."""
    return query.join_from(units, encodings, encodings.c.id == units.c.encoding_id).where(
        units.c.status == UnitStatus.QUEUED,
        units.c.not_before <= db_now(),
        encodings.c.status.in_(ACTIVE),
        encodings.c.cancel_requested_at.is_(None),
        # Nothing but planning begins before there is a plan.
        or_(units.c.kind == UnitKind.PLAN, encodings.c.plan.is_not(None)),
        *which,
    )


def _spoken(key: UnitKey) -> str:
    return f"segment {key.index}" if key.kind is UnitKind.SEGMENT else str(key.kind)
