from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

from encoder_service.database import Database
from encoder_service.schema import downgrade, is_current, upgrade
from encoder_service.settings import DatabaseSettings
from encoder_service.tables import metadata


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path}/empty.sqlite3"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").new_database()
    database = Database(DatabaseSettings(url=url))
    yield database
    database.close()


def table_names(database: Database) -> set[str]:
    with database.reading() as connection:
        return set(inspect(connection).get_table_names()) - {"alembic_version"}


def test_the_sum_of_all_steps_is_the_metadata(empty: Database) -> None:
    upgrade(empty)
    with empty.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    assert table_names(empty) == set(metadata.tables)


def test_check_constraints_of_the_metadata_exist(empty: Database) -> None:
    upgrade(empty)
    with empty.reading() as connection:
        inspector = inspect(connection)
        for name, table in metadata.tables.items():
            present = {each["name"] for each in inspector.get_check_constraints(name)}
            wanted = {str(each.name) for each in table.constraints if "ck_" in str(each.name)}
            assert present == wanted


def test_every_step_goes_down_and_up_again(empty: Database) -> None:
    upgrade(empty)
    downgrade(empty, "base")
    assert table_names(empty) == set()
    upgrade(empty)
    assert table_names(empty) == set(metadata.tables)


def test_only_the_newest_schema_is_current(empty: Database) -> None:
    assert not is_current(empty)
    upgrade(empty)
    assert is_current(empty)


def test_upgrading_twice_changes_nothing(database: Database) -> None:
    upgrade(database)
    assert is_current(database)


def test_a_failed_step_leaves_nothing_behind(empty: Database) -> None:
    with empty.writing() as connection:
        connection.execute(text("CREATE TABLE attempts (x INTEGER)"))
    with pytest.raises(Exception, match="attempts"):
        upgrade(empty)
    assert table_names(empty) == {"attempts"}


def test_the_database_refuses_a_state_that_does_not_exist(database: Database) -> None:
    row = """
        INSERT INTO units (encoding_id, kind, "index", status, num_frames, progress_frames,
                           attempt, not_before, errors, lost_leases)
        VALUES ('x', 'plan', 0, 'thinking', 0, 0, 0, '2026-01-01', 0, 0)
    """
    with pytest.raises(IntegrityError, match="ck_units_status"), database.writing() as connection:
        connection.execute(text(row))
