"""What operators see: metrics, request ids, log lines."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from encoder_service.api.app import connect, create_app
from encoder_service.database import Database
from encoder_service.errors import DatabaseUnavailable
from encoder_service.jobs.records import Failure
from encoder_service.jobs.repository import JobRepository
from encoder_service.queue import InMemoryQueue
from encoder_service.settings import DatabaseSettings, Settings, StorageSettings
from encoder_service.telemetry import JsonFormatter
from encoder_service.workload import measure
from tests.factories import HASTY, PATIENT, Jobs, plan_of

FAILURE = Failure(code="encode.failed", message="it diverged")


@pytest.fixture
def api(sqlite_url: str, tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(
        database=DatabaseSettings(url=sqlite_url),
        storage=StorageSettings(url=f"folder:{tmp_path}/objects"),
    )
    context = connect(settings, InMemoryQueue())
    with TestClient(create_app(context)) as client:
        yield client
    context.database.close()


@pytest.fixture
def log_lines() -> Iterator[StringIO]:
    """What a process with our logging writes."""
    written = StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("encoder_service.api.measuring")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield written
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def test_waiting_leased_and_overdue_are_counted(database: Database) -> None:
    jobs = Jobs(database)
    assert measure(database).waiting == {}
    waiting, leased, overdue = (jobs.submit() for _ in range(3))
    jobs.lease(plan_of(leased))
    assert JobRepository(database, HASTY).lease(plan_of(overdue), "dead") is not None
    seen = measure(database)
    assert (seen.waiting["plan"].units, seen.leased, seen.overdue) == (1, {"plan": 2}, 1)
    assert 0 <= seen.waiting["plan"].oldest_seconds < 60
    assert seen.encodings == {"queued": 1, "encoding": 2}
    del waiting


def test_what_is_not_due_or_not_wanted_does_not_wait(database: Database) -> None:
    jobs = Jobs(database)
    lease = jobs.lease(plan_of(jobs.submit()))
    jobs.repository.release(lease, None, pause_seconds=600)
    given_up = jobs.lease(plan_of(jobs.submit()))
    jobs.repository.fail(given_up, replace(FAILURE, can_help=False))
    assert measure(database).waiting == {}


def test_attempts_are_counted_by_outcome_and_reason(database: Database) -> None:
    jobs = Jobs(database, PATIENT)
    first, second = jobs.planned(8, 8)
    jobs.repository.finish_segment(jobs.lease(first), result={}, num_frames=8)
    jobs.repository.fail(jobs.lease(second), FAILURE)
    assert measure(database).attempts == {
        ("plan", "done", ""): 1,
        ("segment", "done", ""): 1,
        ("segment", "error", "encode.failed"): 1,
    }


def test_metrics_in_prometheus_words(api: TestClient) -> None:
    api.get("/v1/encodings/enc_1")
    text = api.get("/metrics").text
    assert 'nrv_encodings{status="failed"} 0.0' in text
    assert 'nrv_units{kind="segment",status="leased"} 0.0' in text
    assert "nrv_leases_overdue 0.0" in text
    # By pattern: ids would make as many series as there are encodings.
    route = 'method="GET",route="/v1/encodings/{encoding_id}",status="401"'
    assert f"nrv_request_seconds_count{{{route}}}" in text
    assert "enc_1" not in text


def test_metrics_need_the_database(api: TestClient) -> None:
    nowhere = DatabaseSettings(url="postgresql+psycopg://x@/x?host=/nowhere")
    with pytest.raises(DatabaseUnavailable):
        measure(Database(nowhere))
    assert api.get("/healthz").status_code == 200


def test_a_request_has_an_id_in_the_answer_and_in_the_log(
    api: TestClient, log_lines: StringIO
) -> None:
    answer = api.get("/v1/encodings/enc_1")
    (line,) = [json.loads(text) for text in log_lines.getvalue().splitlines()]
    assert line["request_id"] == answer.headers["x-request-id"]
    assert (line["event"], line["level"], line["status"]) == ("request", "info", 401)
    assert (line["method"], line["path"]) == ("GET", "/v1/encodings/enc_1")
    assert line["seconds"] >= 0


def test_health_checks_do_not_fill_the_log(api: TestClient, log_lines: StringIO) -> None:
    api.get("/healthz")
    assert log_lines.getvalue() == ""


def test_even_a_refusal_before_the_routes_is_noted(api: TestClient, log_lines: StringIO) -> None:
    answer = api.post("/v1/encodings", content=b"x" * (2**20 + 1))
    assert answer.status_code == 413
    assert answer.headers["x-request-id"] in log_lines.getvalue()
