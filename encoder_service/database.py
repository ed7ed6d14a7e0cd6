"""The database: connections, transactions, and its clock.

The same statements run on PostgreSQL (production) and on SQLite (one machine). On SQLite a writing
transaction begins with ``BEGIN IMMEDIATE``: it waits for its turn once, at the start, and can then
not fail half-way because somebody else wrote in between.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, DateTime, Dialect, Engine, create_engine, event, literal
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Float, TypeDecorator

from encoder_service.errors import DatabaseUnavailable, InvalidConfiguration
from encoder_service.settings import DatabaseSettings

CONNECT_SECONDS = 5


class Moment(TypeDecorator[datetime]):
    """A point in time: aware, in UTC, to the microsecond; SQLite knows none of that by itself."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002 - part of SQLAlchemy's interface
    ) -> datetime | None:
        """Turn an aware time into UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002 - part of SQLAlchemy's interface
    ) -> datetime | None:
        """Turn what the database gives, with its own zone or with none, into UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class db_now(FunctionElement[datetime]):  # noqa: N801 - reads as the SQL function it is
    """The database's clock plus some seconds: the only clock that leases go by."""

    type = Moment()
    inherit_cache = True

    def __init__(self, plus_seconds: float = 0.0) -> None:
        super().__init__(literal(plus_seconds, Float))


@compiles(db_now, "postgresql")
def _postgresql_now(element: db_now, compiler: SQLCompiler, **options: object) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"(clock_timestamp() + make_interval(secs => {seconds}))"


@compiles(db_now, "sqlite")
def _sqlite_now(element: db_now, compiler: SQLCompiler, **options: object) -> str:
    seconds = compiler.process(element.clauses, **options)
    # The clock has milliseconds; written like microseconds so that texts compare as times do.
    return f"(strftime('%Y-%m-%d %H:%M:%f000', 'now', {seconds} || ' seconds'))"


class Database:
    """One engine; hands out short transactions.

    Foreign errors that mean "not now" become `DatabaseUnavailable`, which is retryable.
    """

    def __init__(self, settings: DatabaseSettings) -> None:
        self.engine = _create_engine(settings)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that may write: committed at the end of the block, else rolled back."""
        with _translated(), self.engine.execution_options(immediate=True).begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads and takes no lock."""
        with _translated(), self.engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close every idle connection."""
        self.engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, PoolTimeout) as error:
        raise DatabaseUnavailable(f"the database does not answer: {_first_line(error)}") from error
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        raise DatabaseUnavailable(f"the connection was lost: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _create_engine(settings: DatabaseSettings) -> Engine:
    try:
        url = make_url(settings.url)
    except ArgumentError:
        raise InvalidConfiguration("NRV_DATABASE_URL is not a database URL") from None
    match url.get_backend_name():
        case "postgresql":
            return _postgresql(url, settings)
        case "sqlite":
            return _sqlite(url, settings)
        case other:
            raise InvalidConfiguration(f"NRV_DATABASE_URL: no support for {other!r}")


def _postgresql(url: URL, settings: DatabaseSettings) -> Engine:
    return create_engine(
        url,
        pool_size=settings.pool_size,
        # Those beyond the pool would be closed after one use: a rush of requests would wait for
        # connections to be made over and over again.
        max_overflow=0,
        pool_pre_ping=True,  # a restarted server costs one ping, not one failed request
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "options": f"-c lock_timeout={int(settings.busy_seconds * 1000)}",
        },
    )


def _sqlite(url: URL, settings: DatabaseSettings) -> Engine:
    if not url.database or url.database == ":memory:":
        raise InvalidConfiguration("NRV_DATABASE_URL: SQLite needs a file, processes share it")
    try:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidConfiguration(f"cannot create {url.database}: {error.strerror}") from error
    engine = create_engine(url, connect_args={"timeout": settings.busy_seconds})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
    del entry
    connection.isolation_level = None  # we begin transactions ourselves, below
    connection.execute("PRAGMA journal_mode=WAL")  # readers and the writer do not wait
    connection.execute("PRAGMA synchronous=NORMAL")  # WAL stays consistent; fewer syncs
    connection.execute("PRAGMA foreign_keys=ON")


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
