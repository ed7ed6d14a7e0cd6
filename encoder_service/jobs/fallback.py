"""Starting over with a cheaper preset, when a segment takes more memory or time than there is.

A stream has one decoder, so the encoding starts over as a whole: it is planned anew, and segments
that were finished with the preset asked for are dropped. Attempts keep counting up, so whoever is
still at a segment of the first plan has lost the right to write.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, select, update

from encoder_service.database import db_now
from encoder_service.jobs.records import Failure, Unit, UnitKey
from encoder_service.jobs.rows import matches, unit_from
from encoder_service.jobs.states import Event, Outcome, Phase, UnitKind, UnitStatus
from encoder_service.jobs.submissions import add_units
from encoder_service.jobs.transitions import LockedEncoding
from encoder_service.tables import attempts, units


def fall_back(connection: Connection, locked: LockedEncoding, failure: Failure, to: str) -> None:
    """Let every unit begin again, the plan first.

    Args:
        connection: of the transaction.
        locked: the encoding.
        failure: what happened once too often; the unit it happened to is queued already.
        to: the cheaper preset.
    """
    encoding_id = locked.encoding.id
    reason = Failure(code="preset.fallback", message=f"the encoding starts over with preset {to}")
    for unit in _units(connection, encoding_id):
        if unit.status is not UnitStatus.QUEUED:
            locked.change_unit(unit.key, Event.FELL_BACK, failure=reason)
        if unit.status is UnitStatus.LEASED:
            locked.close_attempt(unit, Outcome.RELEASED, reason)
    connection.execute(
        update(units)
        .where(units.c.encoding_id == encoding_id)
        .values(
            fallback_preset=to,
            result=None,
            progress_frames=0,
            errors=0,
            lost_leases=0,
            not_before=db_now(),
            sent_at=None,
        )
    )
    locked.set(plan=None, num_frames=None, phase=Phase.PLAN)
    asked = locked.encoding.settings.get("preset")
    locked.record(Event.FELL_BACK, detail={"from": asked, "to": to, "code": failure.code})


def lay_out_segments(
    connection: Connection,
    encoding_id: str,
    segment_frames: Sequence[int],
    fallback_preset: str | None,
) -> list[UnitKey]:
    """One queued unit per segment of a plan; those of an earlier plan are used again."""
    wanted = {
        UnitKey(encoding_id=encoding_id, kind=UnitKind.SEGMENT, index=index): frames
        for index, frames in enumerate(segment_frames)
    }
    found = {
        unit.key for unit in _units(connection, encoding_id) if unit.key.kind is UnitKind.SEGMENT
    }
    for key in found - wanted.keys():
        _remove(connection, key)
    for key in found & wanted.keys():
        again = {"num_frames": wanted[key], "sent_at": db_now()}
        connection.execute(update(units).where(matches(key)).values(again))
    new = [key for key in wanted if key not in found]
    add_units(connection, new, [wanted[key] for key in new], fallback_preset=fallback_preset)
    return list(wanted)


def _units(connection: Connection, encoding_id: str) -> list[Unit]:
    query = select(units).where(units.c.encoding_id == encoding_id)
    return [unit_from(row) for row in connection.execute(query)]


def _remove(connection: Connection, key: UnitKey) -> None:
    """Forget a segment that the new plan does not have; the history keeps what happened to it."""
    mine = (
        attempts.c.encoding_id == key.encoding_id,
        attempts.c.kind == key.kind,
        attempts.c.index == key.index,
    )
    connection.execute(delete(attempts).where(*mine))
    connection.execute(delete(units).where(matches(key)))
