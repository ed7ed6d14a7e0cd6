"""News of ended encodings: stored with the end itself, sent at least once, by whoever has time.

Each callback has an id that stays the same however often it is sent.
"""

from __future__ import annotations

from sqlalchemy import Insert, insert, select, update

from encoder_service.database import Database, db_now
from encoder_service.jobs.records import Callback, Encoding, new_id
from encoder_service.jobs.rows import callback_from
from encoder_service.jobs.states import CallbackStatus, pause_seconds
from encoder_service.settings import CallbackSettings
from encoder_service.tables import callbacks

MAX_ERROR = 300


def callback_row(encoding: Encoding) -> Insert:
    """The statement that stores the news of an encoding that has just ended."""
    callback_id = new_id("cbk")
    return insert(callbacks).values(
        id=callback_id,
        encoding_id=encoding.id,
        owner_id=encoding.owner_id,
        url=encoding.callback_url,
        payload={
            "id": callback_id,
            "type": f"encoding.{encoding.status}",
            "encoding": {
                "id": encoding.id,
                "status": encoding.status,
                "source": encoding.source,
                "labels": list(encoding.labels),
                "batch_id": encoding.batch_id,
                "destination": encoding.destination,
                "retries": encoding.retries,
                "result": encoding.result,
                "error_code": encoding.error_code,
                "error_message": encoding.error_message,
                "finished_at": (encoding.finished_at or encoding.created_at).isoformat(),
            },
        },
        status=CallbackStatus.PENDING,
        attempts=0,
        not_before=db_now(),
        created_at=db_now(),
    )


class CallbackRepository:
    """The callbacks of every encoding, as those who send them see them."""

    def __init__(self, database: Database, settings: CallbackSettings) -> None:
        self.database = database
        self.settings = settings

    def claim(self, limit: int) -> list[Callback]:
        """Callbacks that are due; nobody else gets them for a while, or ever if they are sent.

        Whoever claims and dies leaves them to the next one, after ``hold_seconds``.
        """
        due = (
            select(callbacks.c.id)
            .where(callbacks.c.status == CallbackStatus.PENDING, callbacks.c.not_before <= db_now())
            .order_by(callbacks.c.not_before)
            .limit(limit)
        )
        with self.database.reading() as connection:  # most looks find nothing: take no lock
            if connection.execute(due).first() is None:
                return []
        with self.database.writing() as connection:
            ids = connection.execute(due.with_for_update(skip_locked=True)).scalars().all()
            claimed = (
                update(callbacks)
                .where(callbacks.c.id.in_(ids))
                .values(
                    attempts=callbacks.c.attempts + 1,
                    not_before=db_now(self.settings.hold_seconds),
                )
            )
            rows = connection.execute(claimed.returning(*callbacks.c)).all() if ids else []
        return [callback_from(row) for row in rows]

    def delivered(self, callback: Callback) -> None:
        """Note that the receiver has it."""
        self._write(callback, status=CallbackStatus.DELIVERED, ended_at=db_now(), last_error=None)

    def failed(self, callback: Callback, reason: str) -> None:
        """Note an attempt in vain: the next one comes later, or not at all after too many."""
        if callback.attempts >= self.settings.max_attempts:
            self._write(
                callback,
                status=CallbackStatus.GAVE_UP,
                ended_at=db_now(),
                last_error=reason[:MAX_ERROR],
            )
            return
        pause = pause_seconds(
            callback.attempts,
            first=self.settings.retry_seconds,
            longest=self.settings.max_retry_seconds,
        )
        self._write(callback, not_before=db_now(pause), last_error=reason[:MAX_ERROR])

    def _write(self, callback: Callback, **values: object) -> None:
        mine = (
            callbacks.c.id == callback.id,
            callbacks.c.status == CallbackStatus.PENDING,
            callbacks.c.attempts == callback.attempts,
        )
        with self.database.writing() as connection:
            connection.execute(update(callbacks).where(*mine).values(**values))
