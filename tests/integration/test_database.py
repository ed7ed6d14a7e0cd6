from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text

from encoder_service.database import Database, db_now
from encoder_service.errors import DatabaseUnavailable, InvalidConfiguration
from encoder_service.settings import DatabaseSettings
from tests.servers.postgres import PostgresServer


def test_the_clock_is_aware_and_can_be_shifted(database: Database) -> None:
    with database.reading() as connection:
        now, later, earlier = connection.execute(
            select(db_now(), db_now(90.5), db_now(-3600))
        ).one()
    assert now.tzinfo == UTC
    assert abs(datetime.now(UTC) - now) < timedelta(seconds=60)
    assert abs(later - now - timedelta(seconds=90.5)) < timedelta(seconds=1)
    assert abs(now - earlier - timedelta(hours=1)) < timedelta(seconds=1)


def test_an_error_rolls_back(database: Database) -> None:
    def fail_half_way() -> None:
        with database.writing() as connection:
            connection.execute(text("DELETE FROM alembic_version"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    with database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar_one() == 1


def test_sqlite_readers_do_not_wait_for_the_writer(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.sqlite3"
    database = Database(DatabaseSettings(url=url, busy_seconds=0))
    with database.writing() as writer:
        writer.execute(text("CREATE TABLE t (x INTEGER)"))
    with database.writing() as writer:
        writer.execute(text("INSERT INTO t VALUES (1)"))
        with database.reading() as reader:
            assert reader.execute(text("SELECT count(*) FROM t")).scalar_one() == 0
    database.close()


def test_a_writer_that_waited_too_long_may_try_again(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite3"
    database = Database(DatabaseSettings(url=f"sqlite:///{path}", busy_seconds=0))
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable) as caught, database.writing():
        pass
    assert caught.value.retryable
    blocker.close()
    database.close()


def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    database = Database(DatabaseSettings(url=f"postgresql+psycopg://x@/x?host={tmp_path}"))
    with pytest.raises(DatabaseUnavailable), database.reading():
        pass


def test_a_restarted_server_is_found_again(postgres: PostgresServer) -> None:
    database = Database(DatabaseSettings(url=postgres.new_database()))
    with database.reading() as connection:
        connection.execute(text("SELECT 1"))
    postgres.stop()
    with pytest.raises(DatabaseUnavailable), database.reading():
        pass
    postgres.start()
    with database.reading() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    database.close()


def test_losing_the_server_within_a_transaction(postgres: PostgresServer) -> None:
    database = Database(DatabaseSettings(url=postgres.new_database()))

    def lose_the_server() -> None:
        with database.writing() as connection:
            postgres.stop()
            connection.execute(text("SELECT 1"))

    with pytest.raises(DatabaseUnavailable):
        lose_the_server()
    postgres.start()
    database.close()


@pytest.mark.parametrize("url", ["", "mysql://a/b", "sqlite://", "sqlite:///:memory:"])
def test_urls_that_cannot_work_are_refused(url: str) -> None:
    with pytest.raises(InvalidConfiguration, match="NRV_DATABASE_URL"):
        Database(DatabaseSettings(url=url))


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidConfiguration, match="cannot create"):
        Database(DatabaseSettings(url=f"sqlite:///{tmp_path}/file/sub/a.sqlite3"))
