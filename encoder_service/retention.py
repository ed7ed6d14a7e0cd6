"""What `nrv gc` removes: objects that nobody needs any more, and rows past their time.

Rows go before objects. A row that is gone keeps new work away from what it named; its objects are
orphans from then on and go with the next run, unless something active still names them. So a
submission that arrives while a run is at work loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Table, delete, exists, literal, or_, select

from encoder_service.database import Database, db_now
from encoder_service.jobs.rows import AnyRow
from encoder_service.jobs.states import ACTIVE, EncodingStatus, UnitKind
from encoder_service.settings import RetentionSettings
from encoder_service.storage.base import PICTURES, ObjectInfo, ObjectStore, Unfinished, upload_key
from encoder_service.tables import encodings, metadata, units, uploads

DAY_SECONDS = 86_400.0
BATCH = 200
ENDED_BADLY = (EncodingStatus.FAILED, EncodingStatus.CANCELLED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Garbage:
    """One thing that is, or would be, removed."""

    kind: str  # "object", "upload" or "encoding"
    name: str  # key of the object, or id of the row
    size_bytes: int  # 0 for rows
    reason: str


class Collector:
    """Finds and removes garbage.

    Args:
        database: what is still needed stands here.
        store: of our own objects.
        settings: how long what is kept.
        dry_run: find only.
    """

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        settings: RetentionSettings,
        *,
        dry_run: bool,
    ) -> None:
        self._database = database
        self._store = store
        self._settings = settings
        self._dry_run = dry_run

    def run(self) -> Iterator[Garbage]:
        """Remove, one thing after the other, and say what; stopping in the middle is harmless."""
        yield from self._objects()
        yield from self._unfinished()
        yield from self._encodings()
        yield from self._uploads()

    # Objects

    def _objects(self) -> Iterator[Garbage]:
        for prefix in ("encodings/", "uploads/"):
            batch: list[ObjectInfo] = []
            for info in self._store.list(prefix):
                batch.append(info)
                if len(batch) == BATCH:
                    yield from self._judge(batch)
                    batch = []
            yield from self._judge(batch)

    def _judge(self, batch: list[ObjectInfo]) -> Iterator[Garbage]:
        with self._database.reading() as connection:
            known = _Known(connection, batch, self._settings)
        for info in batch:
            reason = known.reason_to_remove(info)
            if reason is not None:
                if not self._dry_run:
                    self._store.delete(info.key)
                yield Garbage(kind="object", name=info.key, size_bytes=info.size, reason=reason)

    def _unfinished(self) -> Iterator[Garbage]:
        """What broken-off writes left, and uploads in parts whose row is gone."""
        days = self._settings.orphan_days
        before = datetime.now(UTC) - timedelta(days=days)
        for each in self._store.unfinished():
            if not days or each.begun_at > before or self._is_awaited(each):
                continue
            if not self._dry_run:
                self._store.discard(each)
            yield Garbage(
                kind="object", name=each.name, size_bytes=each.size, reason="it was never finished"
            )

    def _is_awaited(self, unfinished: Unfinished) -> bool:
        if unfinished.upload_id is None:
            return False
        query = select(uploads.c.id).where(
            uploads.c.multipart_id == unfinished.upload_id, uploads.c.completed_at.is_(None)
        )
        with self._database.reading() as connection:
            return connection.execute(query).first() is not None

    # Rows

    def _encodings(self) -> Iterator[Garbage]:
        past = (
            (ENDED_BADLY, self._settings.failed_days, "ended badly, and long ago"),
            (
                (EncodingStatus.SUCCEEDED,),
                self._settings.stream_days,
                "past NRV_RETENTION_STREAM_DAYS",
            ),
        )
        for statuses, days, reason in past:
            if not days:
                continue
            old = (encodings.c.status.in_(statuses), encodings.c.finished_at < _before(days))
            for encoding_id in self._ids(encodings, *old):
                if self._dry_run or self._remove_encoding(encoding_id, *old):
                    yield Garbage(kind="encoding", name=encoding_id, size_bytes=0, reason=reason)

    def _remove_encoding(self, encoding_id: str, *still: ColumnElement[bool]) -> bool:
        """Remove an encoding and every row that names it, unless it was retried just now."""
        with self._database.writing() as connection:
            this = select(encodings.c.id).where(encodings.c.id == encoding_id, *still)
            if connection.execute(this.with_for_update()).one_or_none() is None:
                return False
            for table in reversed(metadata.sorted_tables):  # what refers before what is referred to
                if "encoding_id" in table.c:
                    connection.execute(delete(table).where(table.c.encoding_id == encoding_id))
            connection.execute(delete(encodings).where(encodings.c.id == encoding_id))
        return True

    def _uploads(self) -> Iterator[Garbage]:
        if not self._settings.source_days:
            return
        before = _before(self._settings.source_days)
        unneeded = (uploads.c.created_at < before, ~_needed(before))
        for upload_id in self._ids(uploads, *unneeded):
            if not self._dry_run and not self._remove_upload(upload_id, *unneeded):
                continue
            yield Garbage(
                kind="upload",
                name=upload_id,
                size_bytes=0,
                reason="no encoding needs it; its object goes with the next run",
            )

    def _remove_upload(self, upload_id: str, *still: ColumnElement[bool]) -> bool:
        statement = delete(uploads).where(uploads.c.id == upload_id, *still)
        with self._database.writing() as connection:
            row = connection.execute(statement.returning(*uploads.c)).one_or_none()
        if row is None:
            return False
        if row.completed_at is None and row.multipart_id is not None:
            self._store.abort_multipart(upload_key(upload_id), row.multipart_id)
        return True

    def _ids(self, table: Table, *conditions: ColumnElement[bool]) -> list[str]:
        query = select(table.c.id).where(*conditions).order_by(table.c.id)
        with self._database.reading() as connection:
            return list(connection.execute(query).scalars())


class _Known:
    """What the database knows about some objects."""

    def __init__(
        self, connection: Connection, batch: list[ObjectInfo], settings: RetentionSettings
    ) -> None:
        self._settings = settings
        self._now = datetime.now(UTC)
        ids = {_owner(info.key) for info in batch}
        self._encodings = {
            row.id: row
            for row in connection.execute(
                select(
                    encodings.c.id,
                    encodings.c.status,
                    encodings.c.finished_at,
                    encodings.c.stream_key,
                ).where(encodings.c.id.in_(ids))
            )
        }
        self._uploads = set(
            connection.execute(select(uploads.c.id).where(uploads.c.id.in_(ids))).scalars()
        )
        sources = {f"upload:{each}" for each in ids}
        self._sources = set(
            connection.execute(
                select(encodings.c.source).where(
                    encodings.c.source.in_(sources), encodings.c.status.in_(ACTIVE)
                )
            ).scalars()
        )
        results = select(units.c.result).where(
            units.c.encoding_id.in_(ids), units.c.kind == UnitKind.SEGMENT
        )
        self._segments = {
            str(result["key"])
            for result in connection.execute(results).scalars()
            if result is not None and "key" in result
        }

    def reason_to_remove(self, info: ObjectInfo) -> str | None:
        """Why an object may go; None when it must stay."""
        owner = _owner(info.key)
        if info.key.startswith("uploads/"):
            needed = owner in self._uploads or f"upload:{owner}" in self._sources
            return None if needed else self._orphaned(info)
        encoding = self._encodings.get(owner)
        if encoding is None:
            return self._orphaned(info)
        if encoding.status in ACTIVE or info.key == encoding.stream_key:
            return None
        if f"/{PICTURES}/" in info.key:
            return self._old_picture(info)
        if info.key in self._segments:
            return self._assembled(encoding)
        # Of an attempt that lost its lease before it could say so; what else belongs to an
        # encoding (its preview) stays with it.
        lost = "/segments/" in info.key or info.key.endswith(".nrv")
        return self._orphaned(info) if lost else None

    def _assembled(self, encoding: AnyRow) -> str | None:
        days = self._settings.segment_days
        if encoding.status != EncodingStatus.SUCCEEDED or not days:
            return None
        old = encoding.finished_at < self._now - timedelta(days=days)
        return "its encoding has succeeded; the stream holds it" if old else None

    def _old_picture(self, info: ObjectInfo) -> str | None:
        days = self._settings.picture_days
        old = info.modified_at < self._now - timedelta(days=days)
        return "can be made again" if days and old else None

    def _orphaned(self, info: ObjectInfo) -> str | None:
        days = self._settings.orphan_days
        old = info.modified_at < self._now - timedelta(days=days)
        return "no row of the database knows it" if days and old else None


def _owner(key: str) -> str:
    """The id in ``uploads/ID`` and ``encodings/ID/...``."""
    return key.split("/")[1]


def _before(days: float) -> ColumnElement[datetime]:
    return db_now(-days * DAY_SECONDS)


def _needed(before: ColumnElement[datetime]) -> ColumnElement[bool]:
    """Whether an encoding is at an upload, was lately, or may be tried again."""
    return exists().where(
        encodings.c.source == literal("upload:").concat(uploads.c.id),
        or_(
            encodings.c.status.in_((*ACTIVE, *ENDED_BADLY)),
            encodings.c.finished_at > before,
        ),
    )
