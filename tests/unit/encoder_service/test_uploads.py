from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from encoder_service.database import Database
from encoder_service.errors import InvalidRequest, StorageUnavailable
from encoder_service.settings import DatabaseSettings
from encoder_service.storage.base import upload_key
from encoder_service.storage.links import LinkSigner
from encoder_service.storage.local import LocalObjectStore
from encoder_service.uploads import Uploads
from tests.factories import owner

DATA = b"a video, or so they say" * 1000


class Unsteady(LocalObjectStore):
    """Breaks off in the middle of the first object."""

    broken = False

    def put(self, key: str, body: IO[bytes], *, if_absent: bool = False) -> None:
        if not self.broken:
            self.broken = True
            body.read(100)
            raise StorageUnavailable("gone in the middle")
        super().put(key, body, if_absent=if_absent)


@pytest.fixture
def store(tmp_path: Path) -> Unsteady:
    return Unsteady(tmp_path / "objects", LinkSigner("secret", "http://127.0.0.1:1"))


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    database = Database(DatabaseSettings(url=sqlite_url))
    yield database
    database.close()


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_source_is_stored_whole_however_often_it_was_begun(
    database: Database, store: Unsteady, tmp_path: Path, in_memory: bool
) -> None:
    (tmp_path / "source").write_bytes(DATA)
    uploads, owner_id = Uploads(database, store), owner(database)
    with io.BytesIO(DATA) if in_memory else (tmp_path / "source").open("rb") as body:
        with pytest.raises(StorageUnavailable):
            uploads.store_whole(owner_id, body)
        upload = uploads.store_whole(owner_id, body)
    assert upload.size_bytes == len(DATA)
    assert store.read(upload_key(upload.id)) == DATA
    assert uploads.store_whole(owner_id, io.BytesIO(DATA)) == upload


def test_an_empty_source_is_refused(database: Database, store: Unsteady) -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        Uploads(database, store).store_whole(owner(database), io.BytesIO())
