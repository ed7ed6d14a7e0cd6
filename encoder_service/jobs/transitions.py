"""Changes of state, each together with its row of history. No other module writes a status.

The end of an encoding is stored together with the callback that tells of it, if one is wanted.

Every change begins by locking the row of its encoding. So changes to one encoding happen one after
the other, whoever makes them: two workers that finish the last two segments at the same moment
cannot both believe that the other one is still busy.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Insert, func, insert, select, update

from encoder_service.database import db_now
from encoder_service.errors import IllegalTransition, NotFound
from encoder_service.jobs.callbacks import callback_row
from encoder_service.jobs.records import Encoding, Failure, Unit, UnitKey
from encoder_service.jobs.rows import encoding_from, matches, unit_from
from encoder_service.jobs.states import (
    ACTIVE,
    TRANSITIONS,
    Event,
    Outcome,
    UnitStatus,
    after,
)
from encoder_service.tables import attempts, encodings, events, units


class LockedEncoding:
    """One encoding, locked until the transaction ends, and its units.

    Raises:
        NotFound: there is no such encoding.
    """

    def __init__(self, connection: Connection, encoding_id: str) -> None:
        query = select(encodings).where(encodings.c.id == encoding_id).with_for_update()
        row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound(f"there is no encoding {encoding_id}")
        self._connection = connection
        self.encoding: Encoding = encoding_from(row)

    @property
    def accepts_work(self) -> bool:
        """Whether workers may take units: it is active and nobody asked to cancel."""
        return self.encoding.status in ACTIVE and self.encoding.cancel_requested_at is None

    def require_active(self) -> None:
        """Refuse what makes sense only before the end.

        Raises:
            IllegalTransition: the encoding has ended.
        """
        if self.encoding.status not in ACTIVE:
            raise IllegalTransition(
                f"encoding {self.encoding.id} is {self.encoding.status} already"
            )

    def set(self, **values: Any) -> None:
        """Write columns that are not states."""
        statement = update(encodings).where(encodings.c.id == self.encoding.id).values(**values)
        self.encoding = encoding_from(
            self._connection.execute(statement.returning(*encodings.c)).one()
        )

    def change(self, event: Event, **values: Any) -> None:
        """Take one step of the encoding's state machine and write ``values`` with it.

        Raises:
            IllegalTransition: there is no such step from its present state.
        """
        self.set(status=after(self.encoding.status, event), **values)
        self.record(event, detail={"code": values["error_code"]} if event is Event.FAILED else {})
        if self.encoding.status not in ACTIVE and self.encoding.callback_url is not None:
            self._connection.execute(callback_row(self.encoding))

    def change_unit(
        self,
        key: UnitKey,
        event: Event,
        *conditions: ColumnElement[bool],
        failure: Failure | None = None,
        **values: Any,
    ) -> Unit | None:
        """Take one step of a unit's state machine if it is in the right state for it.

        Args:
            key: the unit.
            event: what happened.
            conditions: what must hold as well, such as the fencing attempt.
            failure: the reason, kept with the unit and in the history.
            values: columns to write with it.

        Returns:
            The unit after the step; None, and nothing changed, when a condition does not hold.
        """
        sources, target = TRANSITIONS[UnitStatus][event]
        if target != UnitStatus.LEASED:
            values |= {"lease_owner": None, "lease_expires_at": None}
        if failure is not None:
            values |= {"error_code": failure.code, "error_message": failure.message}
        statement = (
            update(units)
            .where(matches(key), units.c.status.in_(sources), *conditions)
            .values(status=target, **values)
            .returning(*units.c)
        )
        row = self._connection.execute(statement).one_or_none()
        if row is None:
            return None
        unit = unit_from(row)
        detail: dict[str, Any] = {}
        if failure is not None:
            detail = {"code": failure.code, "message": failure.message}
        if event is Event.LEASED:
            detail = {"worker": unit.lease_owner}
        self.record(event, unit=unit, detail=detail)
        return unit

    def open_attempt(self, unit: Unit) -> None:
        """Note that the lease which ``unit`` now has began."""
        self._connection.execute(
            insert(attempts).values(
                encoding_id=unit.key.encoding_id,
                kind=unit.key.kind,
                index=unit.key.index,
                attempt=unit.attempt,
                worker=unit.lease_owner,
                leased_at=db_now(),
            )
        )

    def close_attempt(self, unit: Unit, outcome: Outcome, failure: Failure | None = None) -> None:
        """Note how the lease which ``unit`` had ended."""
        this = (
            attempts.c.encoding_id == unit.key.encoding_id,
            attempts.c.kind == unit.key.kind,
            attempts.c.index == unit.key.index,
            attempts.c.attempt == unit.attempt,
        )
        reason = {}
        if failure is not None:
            reason = {"error_code": failure.code, "error_message": failure.message}
        self._connection.execute(
            update(attempts).where(*this).values(ended_at=db_now(), outcome=outcome, **reason)
        )

    def cancel_if_idle(self) -> None:
        """Carry out a requested cancellation once no worker holds a unit."""
        if self.encoding.status not in ACTIVE or self.encoding.cancel_requested_at is None:
            return
        leased = select(func.count()).where(
            units.c.encoding_id == self.encoding.id, units.c.status == UnitStatus.LEASED
        )
        if self._connection.execute(leased).scalar_one() == 0:
            self.change(Event.CANCELLED, phase=None, finished_at=db_now())

    def record(
        self, event: Event, *, unit: Unit | None = None, detail: dict[str, Any] | None = None
    ) -> None:
        """Append to the history."""
        self.set(num_events=encodings.c.num_events + 1)
        sequence = self.encoding.num_events
        self._connection.execute(event_row(self.encoding.id, sequence, event, unit, detail))


def event_row(
    encoding_id: str,
    sequence: int,
    event: Event,
    unit: Unit | None = None,
    detail: dict[str, Any] | None = None,
) -> Insert:
    """The statement that adds one row to the history; ``sequence`` is the new ``num_events``."""
    return insert(events).values(
        encoding_id=encoding_id,
        sequence=sequence,
        event=event,
        at=db_now(),
        kind=None if unit is None else unit.key.kind,
        index=None if unit is None else unit.key.index,
        attempt=None if unit is None else unit.attempt,
        detail=detail or {},
    )
