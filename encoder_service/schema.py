"""Brings the database's schema up to date; the steps themselves are in ``migrations/``."""

from __future__ import annotations

from importlib.util import find_spec

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from encoder_service.database import Database
from encoder_service.errors import InvalidConfiguration


def upgrade(database: Database, revision: str = "head") -> None:
    """Apply every step up to ``revision`` in one transaction; safe to call at the same time."""
    with database.writing() as connection:
        command.upgrade(_config(connection), revision)


def downgrade(database: Database, revision: str) -> None:
    """Undo every step after ``revision`` ("base": all of them)."""
    with database.writing() as connection:
        command.downgrade(_config(connection), revision)


def is_current(database: Database) -> bool:
    """Whether the schema is the one this code was written for."""
    with database.reading() as connection:
        present = MigrationContext.configure(connection).get_current_revision()
        return present == ScriptDirectory.from_config(_config(connection)).get_current_head()


def _config(connection: Connection) -> Config:
    spec = find_spec("migrations")
    if spec is None or not spec.submodule_search_locations:
        raise InvalidConfiguration("the package 'migrations' is not installed")
    config = Config()
    config.set_main_option("script_location", spec.submodule_search_locations[0].replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
