"""Real servers for the tests that need them: started on first use, one of each per session."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from encoder_service.database import Database
from encoder_service.schema import upgrade
from encoder_service.settings import DatabaseSettings
from encoder_service.tables import metadata
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer
from tests.servers.swift import SwiftServer


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder with a short name: the path of a Unix socket has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="nrv-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres(server_folder: Path) -> Iterator[PostgresServer]:
    (folder := server_folder / "postgres").mkdir()
    server = PostgresServer(folder)
    yield server
    server.discard()


@pytest.fixture(scope="session")
def migrated_postgres_url(postgres: PostgresServer) -> str:
    """The URL of one database with the present schema, for the whole session."""
    url = postgres.new_database()
    _migrate(url)
    return url


@pytest.fixture
def postgres_url(migrated_postgres_url: str) -> str:
    """The URL of a PostgreSQL database with the present schema and no rows."""
    database = Database(DatabaseSettings(url=migrated_postgres_url))
    with database.writing() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(metadata.tables)}"))
    database.close()
    return migrated_postgres_url


@pytest.fixture(scope="session")
def sqlite_template(server_folder: Path) -> Path:
    """A database file with the present schema, to be copied."""
    path = server_folder / "template.sqlite3"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a SQLite database with the present schema and no rows."""
    path = tmp_path / "nrv.sqlite3"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite_url", "postgres_url"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database with the present schema and no rows, of each kind in turn."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(DatabaseSettings(url=database_url))
    yield database
    database.close()


def _migrate(url: str) -> None:
    database = Database(DatabaseSettings(url=url))
    upgrade(database)
    database.close()


@pytest.fixture(scope="session")
def redis(server_folder: Path) -> Iterator[RedisServer]:
    (folder := server_folder / "redis").mkdir()
    server = RedisServer(folder)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def swift(server_folder: Path) -> Iterator[SwiftServer]:
    (folder := server_folder / "swift").mkdir()
    server = SwiftServer(folder)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def bucket(swift: SwiftServer) -> str:
    """A bucket of the S3 server, for the whole session; use keys of your own."""
    return swift.new_bucket("tests")
