"""The API over each kind of database, without a server: what its tests speak to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from encoder_service.api.app import create_app
from encoder_service.api.context import Context
from encoder_service.api_keys import create_key
from encoder_service.database import Database
from encoder_service.settings import ApiSettings, DatabaseSettings, Settings, StorageSettings
from encoder_service.storage.locations import Locations
from tests.factories import Service

BASE_URL = "http://testserver"


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return Settings(
        database=DatabaseSettings(url=database_url),
        storage=StorageSettings(url=f"folder:{tmp_path}/objects", source_buckets=("films",)),
        api=ApiSettings(
            url=BASE_URL,
            max_upload_bytes=4 * 2**20,
            max_body_bytes=10_000,
            part_bytes=1000,
            events_seconds=0,
        ),
    )


@pytest.fixture
def service(settings: Settings, database: Database, tmp_path: Path) -> Service:
    return Service(database, Locations(settings.storage, base_url=BASE_URL), tmp_path / "scratch")


@pytest.fixture
def context(settings: Settings, service: Service) -> Context:
    return Context(
        settings=settings,
        database=service.jobs.database,
        queue=service.jobs.queue,
        locations=service.locations,
    )


@pytest.fixture
def api(context: Context, service: Service) -> Iterator[TestClient]:
    key, secret = create_key(context.database, "tests")
    service.jobs.owner_id = key.id
    with TestClient(create_app(context), headers={"Authorization": f"Bearer {secret}"}) as client:
        yield client
