"""Leases and results: what workers write. One short transaction per method.

The database is the truth and messages are hints: whoever wants to work on a unit must win its lease
here, and whoever writes must still hold it. ``attempt`` is the fencing number: a worker that comes
back from the dead holds a lower one than its successor, matches no row, and gets `LeaseLost`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, func, select, update

from encoder_service.database import db_now
from encoder_service.errors import LeaseLost, NotFound
from encoder_service.jobs.fallback import lay_out_segments
from encoder_service.jobs.records import Failure, Lease, Unit, UnitKey
from encoder_service.jobs.recovery import Recovery
from encoder_service.jobs.rows import matches, unit_from
from encoder_service.jobs.states import (
    ACTIVE,
    EncodingStatus,
    Event,
    Outcome,
    Phase,
    UnitKind,
    UnitStatus,
    Verdict,
    judge_error,
)
from encoder_service.jobs.submissions import add_units
from encoder_service.jobs.transitions import LockedEncoding
from encoder_service.tables import encodings, units

PHASE_OF = {
    UnitKind.PLAN: Phase.PLAN,
    UnitKind.SEGMENT: Phase.ENCODE,
    UnitKind.ASSEMBLE: Phase.ASSEMBLE,
}


class JobRepository(Recovery):
    """The units of work of every encoding, as workers see them."""

    # Working on a unit

    def lease(self, key: UnitKey, worker: str) -> Lease | None:
        """Win the right to work on a unit.

        Returns:
            None when there is nothing to do: the unit is done, leased by somebody else, not due
            yet, or its encoding is over. Duplicated and late messages end here.
        """
        with self.database.writing() as connection:
            try:
                locked = LockedEncoding(connection, key.encoding_id)
            except NotFound:
                return None
            planned = locked.encoding.plan is not None
            if not locked.accepts_work or not (planned or key.kind is UnitKind.PLAN):
                return None
            unit = locked.change_unit(
                key,
                Event.LEASED,
                units.c.not_before <= db_now(),
                attempt=units.c.attempt + 1,
                lease_owner=worker,
                lease_expires_at=db_now(self.settings.lease_seconds),
                progress_frames=0,
            )
            if unit is None:
                return None
            locked.open_attempt(unit)
            self._enter(locked, PHASE_OF[key.kind])
            return Lease(
                unit=key,
                attempt=unit.attempt,
                worker=worker,
                num_frames=unit.num_frames,
                fallback_preset=unit.fallback_preset,
                encoding=locked.encoding,
            )

    def heartbeat(self, lease: Lease, *, progress_frames: int = 0) -> bool:
        """Extend a lease and report how far the work is.

        Returns:
            False when the work is no longer wanted: stop and `release`.

        Raises:
            LeaseLost: the unit belongs to a later attempt, or to nobody.
        """
        with self.database.writing() as connection:
            extended = connection.execute(
                update(units)
                .where(*_held(lease))
                .values(
                    lease_expires_at=db_now(self.settings.lease_seconds),
                    progress_frames=progress_frames,
                )
            )
            if extended.rowcount == 0:
                raise _lost(lease)
            wanted = exists().where(
                encodings.c.id == lease.unit.encoding_id,
                encodings.c.status.in_(ACTIVE),
                encodings.c.cancel_requested_at.is_(None),
            )
            return bool(connection.execute(select(wanted)).scalar_one())

    def publish(self, lease: Lease) -> None:
        """Note that the stream is whole and is being stored."""
        with self.database.writing() as connection:
            locked = LockedEncoding(connection, lease.unit.encoding_id)
            self._held_unit(connection, lease)
            locked.set(phase=Phase.PUBLISH)

    def finish_plan(
        self, lease: Lease, *, plan: Mapping[str, object], segment_frames: Sequence[int]
    ) -> list[UnitKey]:
        """Store the plan and create one unit per segment; returns them."""
        with self.database.writing() as connection:
            locked = LockedEncoding(connection, lease.unit.encoding_id)
            if not self._finish(connection, locked, lease, result={}):
                return []
            locked.set(plan=plan, num_frames=sum(segment_frames), phase=Phase.ENCODE)
            keys = lay_out_segments(
                connection, lease.unit.encoding_id, segment_frames, lease.fallback_preset
            )
            locked.cancel_if_idle()
            return keys if locked.accepts_work else []

    def finish_segment(
        self, lease: Lease, *, result: Mapping[str, object], num_frames: int
    ) -> list[UnitKey]:
        """Store where a segment's bytes lie; returns the assembling once every segment is done."""
        with self.database.writing() as connection:
            locked = LockedEncoding(connection, lease.unit.encoding_id)
            if not self._finish(connection, locked, lease, result, progress_frames=num_frames):
                return []
            locked.cancel_if_idle()
            unfinished = exists().where(
                units.c.encoding_id == lease.unit.encoding_id, units.c.status != UnitStatus.DONE
            )
            if connection.execute(select(unfinished)).scalar_one():
                return []
            key = UnitKey(encoding_id=lease.unit.encoding_id, kind=UnitKind.ASSEMBLE)
            add_units(connection, [key], [0], fallback_preset=lease.fallback_preset)
            return [key] if locked.accepts_work else []

    def finish_assembly(
        self, lease: Lease, *, result: Mapping[str, object], stream_key: str
    ) -> None:
        """Store the result; the encoding has succeeded."""
        with self.database.writing() as connection:
            locked = LockedEncoding(connection, lease.unit.encoding_id)
            if self._finish(connection, locked, lease, result={}):
                locked.change(
                    Event.SUCCEEDED,
                    phase=None,
                    result=result,
                    stream_key=stream_key,
                    finished_at=db_now(),
                )

    def note_preview(self, encoding_id: str, failure: Failure | None) -> None:
        """Add to the history that the preview of a finished encoding was made, or why not."""
        with self.database.writing() as connection:
            locked = LockedEncoding(connection, encoding_id)
            if failure is None:
                locked.record(Event.PREVIEWED)
            else:
                detail = {"code": failure.code, "message": failure.message}
                locked.record(Event.PREVIEW_FAILED, detail=detail)

    # When it does not work out

    def fail(self, lease: Lease, failure: Failure) -> Verdict:
        """End an attempt with an in-process error, which counts."""
        with self.database.writing() as connection:
            locked = LockedEncoding(connection, lease.unit.encoding_id)
            unit = self._held_unit(connection, lease)
            errors = unit.errors + 1
            verdict = judge_error(
                errors,
                max_errors=self.settings.max_errors,
                can_help=failure.can_help,
                fallback_left=failure.too_much and self._fallback(locked, unit) is not None,
            )
            self._end(
                connection,
                locked,
                unit,
                verdict,
                outcome=Outcome.ERROR,
                failure=failure,
                values={"errors": errors},
            )
            return verdict

    def release(self, lease: Lease, failure: Failure | None, *, pause_seconds: float) -> None:
        """Give a unit back without counting anything: the worker is told to stop, or waits."""
        with self.database.writing() as connection:
            locked = LockedEncoding(connection, lease.unit.encoding_id)
            unit = locked.change_unit(
                lease.unit,
                Event.RELEASED,
                units.c.attempt == lease.attempt,
                failure=failure,
                not_before=db_now(pause_seconds),
                sent_at=None,
            )
            if unit is None:
                raise _lost(lease)
            locked.close_attempt(unit, Outcome.RELEASED, failure)
            locked.cancel_if_idle()

    # Shared steps

    @staticmethod
    def _enter(locked: LockedEncoding, phase: Phase) -> None:
        """Bring the encoding into the phase of the unit that was just leased."""
        if locked.encoding.status is EncodingStatus.QUEUED:
            first = func.coalesce(encodings.c.started_at, db_now())
            locked.change(Event.STARTED, phase=phase, started_at=first)
        elif locked.encoding.phase is not phase:
            locked.set(phase=phase)

    @staticmethod
    def _held_unit(connection: Connection, lease: Lease) -> Unit:
        row = connection.execute(select(units).where(*_held(lease))).one_or_none()
        if row is None:
            raise _lost(lease)
        return unit_from(row)

    def _finish(
        self,
        connection: Connection,
        locked: LockedEncoding,
        lease: Lease,
        result: Mapping[str, object],
        **values: Any,
    ) -> bool:
        """Mark a unit done; False when this very attempt did so before (a commit was not heard)."""
        mine = units.c.attempt == lease.attempt
        unit = locked.change_unit(lease.unit, Event.FINISHED, mine, result=result, **values)
        if unit is not None:
            locked.close_attempt(unit, Outcome.DONE)
            return True
        done = (matches(lease.unit), mine, units.c.status == UnitStatus.DONE)
        if connection.execute(select(units.c.attempt).where(*done)).one_or_none() is None:
            raise _lost(lease)
        return False


def _held(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    """The condition that a lease still holds."""
    return (
        matches(lease.unit),
        units.c.status == UnitStatus.LEASED,
        units.c.attempt == lease.attempt,
    )


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"attempt {lease.attempt} no longer holds {lease.unit}")
