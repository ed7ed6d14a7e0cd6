"""API keys: shown once, stored as a hash, revoked by a date.

A key is 160 random bits, so its plain SHA-256 cannot be searched; slow hashes are for passwords.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update

from encoder_service.database import Database, db_now
from encoder_service.errors import NotFound, Unauthenticated
from encoder_service.jobs.records import new_id
from encoder_service.jobs.rows import AnyRow
from encoder_service.tables import api_keys


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """What is known about a key: everything but the key itself."""

    id: str  # owns encodings
    name: str
    created_at: datetime
    revoked_at: datetime | None


def create_key(database: Database, name: str) -> tuple[ApiKey, str]:
    """Make a key; the second value, the secret, can never be read again."""
    secret = f"nrv_{secrets.token_hex(20)}"
    statement = insert(api_keys).values(
        id=new_id("key"), name=name, secret_sha256=_hash(secret), created_at=db_now()
    )
    with database.writing() as connection:
        row = connection.execute(statement.returning(*api_keys.c)).one()
    return _key(row), secret


def authenticate(database: Database, secret: str) -> ApiKey:
    """The key with this secret.

    Raises:
        Unauthenticated: there is none, or it was revoked.
    """
    query = select(api_keys).where(
        api_keys.c.secret_sha256 == _hash(secret), api_keys.c.revoked_at.is_(None)
    )
    with database.reading() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        raise Unauthenticated("the API key is unknown or revoked; create one with: nrv keys create")
    return _key(row)


def list_keys(database: Database) -> list[ApiKey]:
    """Every key, revoked ones included, oldest first."""
    with database.reading() as connection:
        return [_key(row) for row in connection.execute(select(api_keys).order_by(api_keys.c.id))]


def revoke_key(database: Database, key_id: str) -> None:
    """Refuse a key from now on; revoking twice keeps the first date.

    Raises:
        NotFound: there is no such key.
    """
    unless_revoked = api_keys.c.revoked_at.is_(None)
    with database.writing() as connection:
        known = connection.execute(select(api_keys.c.id).where(api_keys.c.id == key_id))
        if known.one_or_none() is None:
            raise NotFound(f"there is no API key {key_id}")
        connection.execute(
            update(api_keys)
            .where(api_keys.c.id == key_id, unless_revoked)
            .values(revoked_at=db_now())
        )


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _key(row: AnyRow) -> ApiKey:
    return ApiKey(id=row.id, name=row.name, created_at=row.created_at, revoked_at=row.revoked_at)
