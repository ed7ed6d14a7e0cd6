"""Runs the steps in ``versions/`` on the connection it is given, within its transaction.

Rules: a step works while the code before it is still deployed; dropping a column takes two releases
(stop using it, then drop it), renaming one takes three.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, text

from encoder_service.tables import metadata

# Any number that nothing else in the database locks: only one migration runs at a time.
ADVISORY_LOCK = 0x6E7276


def run(connection: Connection) -> None:
    """Apply what was asked for."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"))
        # Better to fail and try again than to stop the service behind a queue of locks.
        connection.execute(text("SET LOCAL lock_timeout = '4s'"))
        connection.execute(text("SET LOCAL statement_timeout = '60s'"))
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
