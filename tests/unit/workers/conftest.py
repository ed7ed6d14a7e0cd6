from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from encoder_service.database import Database
from encoder_service.settings import DatabaseSettings, StorageSettings
from encoder_service.storage.locations import Locations
from tests.factories import Service


@pytest.fixture
def service(tmp_path: Path, sqlite_url: str) -> Iterator[Service]:
    """SQLite and a folder: no server, no network."""
    database = Database(DatabaseSettings(url=sqlite_url))
    settings = StorageSettings(url=f"folder:{tmp_path}/objects")
    locations = Locations(settings, base_url="http://127.0.0.1:8000")
    yield Service(database, locations, tmp_path / "scratch")
    database.close()
