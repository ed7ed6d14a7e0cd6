from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

from encoder_service.errors import InvalidConfiguration
from encoder_service.settings import GROUPS, Settings, describe

SAFE = {
    "NRV_ENVIRONMENT": "production",
    "NRV_STORAGE_LINK_SECRET": "5b0f2c",
    "NRV_DATABASE_URL": "postgresql+psycopg://nrv:91dd3a@db/nrv",
}


def test_an_empty_environment_is_development() -> None:
    assert Settings.from_environment({}) == Settings()
    assert Settings().environment == "development"


def test_variables_are_read_as_their_types() -> None:
    settings = Settings.from_environment(
        {
            "NRV_JOBS_LEASE_SECONDS": "7.5",
            "NRV_JOBS_MAX_ERRORS": "4",
            "NRV_STORAGE_SOURCE_BUCKETS": "films, clips,",
            "NRV_LOG_LEVEL": "debug",
            "PATH": "/usr/bin",
        }
    )
    assert settings.jobs.lease_seconds == 7.5
    assert settings.jobs.max_errors == 4
    assert settings.storage.source_buckets == ("films", "clips")
    assert settings.log_level == "debug"


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("NRV_JOBS_MAX_ERRORS", "many", "NRV_JOBS_MAX_ERRORS='many' is not int"),
        ("NRV_JOBS_LEASE_SECONDS", "-1", "finite and not negative"),
        ("NRV_JOBS_LEASE_SECONDS", "nan", "must be finite"),
        ("NRV_JOB_LEASE_SECONDS", "1", "unknown settings: NRV_JOB_LEASE_SECONDS"),
        ("NRV_LOG_LEVEL", "loud", "NRV_LOG_LEVEL"),
    ],
)
def test_mistakes_are_named(variable: str, text: str, message: str) -> None:
    with pytest.raises(InvalidConfiguration, match=message):
        Settings.from_environment({variable: text})


def test_variables_of_the_client_are_no_mistake() -> None:
    Settings.from_environment({"NRV_URL": "http://127.0.0.1:8000", "NRV_API_KEY": "nrv_1"})


def test_secrets_of_ones_own_are_accepted_in_production() -> None:
    assert Settings.from_environment(SAFE).environment == "production"


@pytest.mark.parametrize(
    "unsafe",
    [
        {"NRV_STORAGE_LINK_SECRET": "for-development-only"},
        {"NRV_STORAGE_SECRET_KEY": "minioadmin"},
        {"NRV_DATABASE_URL": "postgresql+psycopg://nrv:changeme@db/nrv"},
        {"NRV_QUEUE_URL": "redis://:password@redis/0"},
    ],
)
def test_known_secrets_are_refused_in_production(unsafe: dict[str, str]) -> None:
    (variable,) = unsafe
    with pytest.raises(InvalidConfiguration, match=variable):
        Settings.from_environment(SAFE | unsafe)
    Settings.from_environment(unsafe)


def test_every_setting_is_described() -> None:
    described = {variable: meaning for variable, _, meaning in describe()}
    assert described["NRV_JOBS_LEASE_SECONDS"]
    assert all(described.values())
    assert len(described) == sum(len(fields(group)) for group in GROUPS.values())


def test_settings_cannot_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().log_level = "debug"  # type: ignore[misc]


def test_a_dead_worker_is_noticed_within_thirty_seconds_by_default() -> None:
    jobs = Settings().jobs
    assert jobs.lease_seconds + jobs.sweep_seconds + jobs.retry_seconds + jobs.sweep_seconds <= 30
    assert jobs.heartbeat_seconds * 3 < jobs.lease_seconds
