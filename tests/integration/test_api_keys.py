from __future__ import annotations

import pytest
from sqlalchemy import select

from encoder_service.api_keys import authenticate, create_key, list_keys, revoke_key
from encoder_service.database import Database
from encoder_service.errors import NotFound, Unauthenticated
from encoder_service.tables import api_keys


def test_a_key_opens_and_is_not_stored(database: Database) -> None:
    key, secret = create_key(database, "laptop")
    assert secret.startswith("nrv_")
    assert authenticate(database, secret) == key
    with database.reading() as connection:
        assert secret not in str(connection.execute(select(api_keys)).all())


def test_a_revoked_key_is_refused(database: Database) -> None:
    key, secret = create_key(database, "laptop")
    revoke_key(database, key.id)
    with pytest.raises(Unauthenticated):
        authenticate(database, secret)
    (listed,) = list_keys(database)
    assert listed.revoked_at is not None
    revoke_key(database, key.id)
    assert list_keys(database) == [listed]


@pytest.mark.parametrize("secret", ["", "nrv_", "nrv_00", "' OR 1=1 --"])
def test_unknown_secrets_are_refused(database: Database, secret: str) -> None:
    create_key(database, "laptop")
    with pytest.raises(Unauthenticated):
        authenticate(database, secret)


def test_revoking_an_unknown_key(database: Database) -> None:
    with pytest.raises(NotFound):
        revoke_key(database, "key_x")
