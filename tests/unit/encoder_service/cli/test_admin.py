from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from encoder_service.api_keys import authenticate
from encoder_service.database import Database
from encoder_service.errors import Unauthenticated
from encoder_service.settings import DatabaseSettings
from tests.unit.encoder_service.cli.conftest import Command


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DatabaseSettings:
    settings = DatabaseSettings(url=f"sqlite:///{tmp_path}/service.sqlite3")
    monkeypatch.setenv("NRV_DATABASE_URL", settings.url)
    monkeypatch.setenv("NRV_STORAGE_URL", f"folder:{tmp_path}/objects")
    return settings


def test_a_key_is_made_listed_and_revoked(nrv: Command, database: DatabaseSettings) -> None:
    assert [nrv("migrate").status, nrv("migrate").status] == [0, 0]
    made = nrv("keys", "create", "laptop", "--json").json()
    assert (made["name"], made["key"][:4]) == ("laptop", "nrv_")
    known = Database(database)
    assert authenticate(known, made["key"]).id == made["id"]

    listed = nrv("keys", "list")
    assert made["id"] in listed.out
    assert made["key"] not in listed.out
    assert nrv("keys", "revoke", made["id"]).status == 0
    (key,) = nrv("keys", "list", "--json").json()["keys"]
    assert key["revoked_at"] is not None
    assert "revoked" in nrv("keys", "list").out
    with pytest.raises(Unauthenticated):
        authenticate(known, made["key"])
    known.close()


def test_a_key_is_printed_for_people_with_a_warning(
    nrv: Command, database: DatabaseSettings
) -> None:
    del database
    nrv("migrate")
    outcome = nrv("keys", "create", "laptop")
    assert "nrv_" in outcome.out
    assert "cannot be shown again" in outcome.err


def test_an_unknown_key_is_refused(nrv: Command, database: DatabaseSettings) -> None:
    del database
    nrv("migrate")
    outcome = nrv("keys", "revoke", "key_x")
    assert (outcome.status, outcome.err) == (4, "nrv: there is no API key key_x\n")


def test_a_database_without_schema(nrv: Command, database: DatabaseSettings) -> None:
    del database
    outcome = nrv("keys", "list")
    assert outcome.status == 4
    assert "nrv migrate" in outcome.err


@pytest.mark.parametrize("variable", ["NRV_DATABASE_URL", "NRV_NO_SUCH_SETTING"])
def test_settings_that_are_wrong(
    nrv: Command, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "nowhere")
    outcome = nrv("migrate")
    assert outcome.status == 2
    assert variable in outcome.err


@pytest.mark.parametrize(
    ("options", "started"),
    [
        ([], ["workers", "--queues", "cpu,gpu", "--name", "nrv@%h"]),
        (["--queues", "gpu", "--name", "a"], ["workers", "--queues", "gpu", "--name", "a"]),
        (["--sweep"], ["workers.sweeper"]),
    ],
)
def test_a_worker_takes_this_process_over(
    nrv: Command, monkeypatch: pytest.MonkeyPatch, options: list[str], started: list[str]
) -> None:
    seen: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(os, "execv", lambda path, command: seen.append((path, command)))
    assert nrv("worker", *options).status == 0
    assert seen == [(sys.executable, [sys.executable, "-m", *started])]


def test_gc_says_what_it_would_remove_and_removes_it_when_told(
    nrv: Command, database: DatabaseSettings, tmp_path: Path
) -> None:
    del database
    nrv("migrate")
    stray = tmp_path / "objects" / "uploads" / "stray"
    stray.parent.mkdir()
    stray.write_bytes(b"12345")
    os.utime(stray, (0, 0))

    would = nrv("gc")
    assert would.out == "object uploads/stray (no row of the database knows it)\n"
    assert would.err == "1 things, 5 bytes: would be removed; nrv gc --delete removes them\n"
    assert stray.exists()

    done = nrv("gc", "--delete", "--json").json()
    assert (done["removed"], done["size_bytes"]) == (True, 5)
    assert [each["name"] for each in done["garbage"]] == ["uploads/stray"]
    assert not stray.exists()


def test_gc_needs_the_newest_schema(nrv: Command, database: DatabaseSettings) -> None:
    del database
    assert nrv("gc").status == 4


def test_the_api_refuses_settings_that_it_does_not_know(
    nrv: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NRV_DATABASE", "sqlite:///elsewhere")
    outcome = nrv("api")
    assert outcome.status == 2
    assert "NRV_DATABASE" in outcome.err
