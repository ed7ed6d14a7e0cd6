"""Sources on their way in: whole through the API, or in parts straight into the object store."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from datetime import datetime
from typing import IO

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from encoder_service.database import Database, db_now
from encoder_service.errors import Conflict, InvalidRequest, NotFound
from encoder_service.jobs.records import new_id
from encoder_service.jobs.rows import AnyRow
from encoder_service.storage.base import ObjectStore, upload_key
from encoder_service.tables import uploads

MAX_PARTS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """One source."""

    id: str
    owner_id: str
    size_bytes: int
    part_bytes: int
    multipart_id: str | None  # None: came in one piece
    created_at: datetime
    completed_at: datetime | None

    @property
    def source(self) -> str:
        """What an encoding calls it."""
        return f"upload:{self.id}"

    @property
    def num_parts(self) -> int:
        """How many parts there are when all are here."""
        return math.ceil(self.size_bytes / self.part_bytes)

    def part_size(self, number: int) -> int:
        """Bytes in a part; all are equal but the last."""
        return min(self.part_bytes, self.size_bytes - (number - 1) * self.part_bytes)


class Uploads:
    """The uploads of every owner."""

    def __init__(self, database: Database, store: ObjectStore) -> None:
        self._database = database
        self._store = store

    def store_whole(self, owner_id: str, body: IO[bytes]) -> Upload:
        """Take a source in one piece. The same bytes of the same owner are the same upload.

        Raises:
            InvalidRequest: it is empty.
        """
        size_bytes = body.seek(0, os.SEEK_END)
        if size_bytes == 0:
            raise InvalidRequest("the file is empty")
        body.seek(0)  # whoever had it before may have read some
        digest = hashlib.file_digest(body, "sha256").hexdigest()  # type: ignore[arg-type]
        name = hashlib.sha256(f"{owner_id} {digest}".encode()).hexdigest()
        upload_id = f"upl_{name[:32]}"
        try:
            return self.get(owner_id, upload_id)
        except NotFound:
            body.seek(0)
            self._store.put(upload_key(upload_id), body)
        try:
            return self._insert(
                id=upload_id,
                owner_id=owner_id,
                size_bytes=size_bytes,
                part_bytes=size_bytes,
                completed_at=db_now(),
            )
        except IntegrityError:
            return self.get(owner_id, upload_id)  # somebody was faster just now

    def begin(self, owner_id: str, *, size_bytes: int, part_bytes: int) -> Upload:
        """Prepare for a source in parts of ``part_bytes``, or larger ones if it takes too many."""
        upload_id = new_id("upl")
        return self._insert(
            id=upload_id,
            owner_id=owner_id,
            size_bytes=size_bytes,
            part_bytes=max(part_bytes, math.ceil(size_bytes / MAX_PARTS)),
            multipart_id=self._store.start_multipart(upload_key(upload_id)),
        )

    def get(self, owner_id: str, upload_id: str) -> Upload:
        """One upload.

        Raises:
            NotFound: there is none of this owner.
        """
        with self._database.reading() as connection:
            return _find(connection, owner_id, upload_id)

    def parts(self, upload: Upload) -> dict[int, int]:
        """Sizes in bytes of the parts that are here, by number."""
        if upload.completed_at is not None or upload.multipart_id is None:
            return {number: upload.part_size(number) for number in range(1, upload.num_parts + 1)}
        stored = self._store.list_parts(upload_key(upload.id), upload.multipart_id)
        return {part.number: part.size for part in stored}

    def link(self, upload: Upload, number: int, *, seconds: int) -> str:
        """Where to PUT a part."""
        return self._store.link_to_put_part(
            upload_key(upload.id), str(upload.multipart_id), number, seconds=seconds
        )

    def complete(self, owner_id: str, upload_id: str) -> Upload:
        """Join the parts; completing again changes nothing.

        Raises:
            Conflict: a part is missing or has the wrong size.
        """
        upload = self.get(owner_id, upload_id)
        if upload.completed_at is not None or upload.multipart_id is None:
            return upload
        key = upload_key(upload.id)
        parts = self._store.list_parts(key, upload.multipart_id)
        wanted = {number: upload.part_size(number) for number in range(1, upload.num_parts + 1)}
        present = {part.number: part.size for part in parts}
        if present != wanted:
            wrong = sorted(n for n in wanted | present if wanted.get(n) != present.get(n))
            raise Conflict(f"parts missing or of the wrong size: {_some(wrong)}")
        self._store.complete_multipart(key, upload.multipart_id, parts)
        mine = (uploads.c.id == upload_id, uploads.c.owner_id == owner_id)
        with self._database.writing() as connection:
            connection.execute(update(uploads).where(*mine).values(completed_at=db_now()))
            return _find(connection, owner_id, upload_id)

    def require_complete(self, owner_id: str, source: str) -> None:
        """Refuse ``upload:ID`` unless it is whole and this owner's; other sources pass.

        Raises:
            NotFound: there is no such upload of this owner.
            Conflict: it is not complete.
        """
        kind, _, upload_id = source.partition(":")
        if kind == "upload" and self.get(owner_id, upload_id).completed_at is None:
            raise Conflict(f"upload {upload_id} is not complete; complete it first")

    def _insert(self, **values: object) -> Upload:
        statement = insert(uploads).values(**values, created_at=db_now()).returning(*uploads.c)
        with self._database.writing() as connection:
            return _upload(connection.execute(statement).one())


def _find(connection: Connection, owner_id: str, upload_id: str) -> Upload:
    query = select(uploads).where(uploads.c.id == upload_id, uploads.c.owner_id == owner_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"there is no upload {upload_id}")
    return _upload(row)


def _upload(row: AnyRow) -> Upload:
    return Upload(
        id=row.id,
        owner_id=row.owner_id,
        size_bytes=row.size_bytes,
        part_bytes=row.part_bytes,
        multipart_id=row.multipart_id,
        created_at=row.created_at,
        completed_at=row.completed_at,
    )


def _some(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return shown if len(numbers) <= 10 else f"{shown} and {len(numbers) - 10} more"
