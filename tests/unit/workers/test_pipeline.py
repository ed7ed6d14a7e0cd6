from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded

from encoder_service.errors import DatabaseUnavailable, StorageFull, StorageUnavailable
from encoder_service.jobs import commands
from encoder_service.jobs.records import Lease, UnitKey
from encoder_service.jobs.repository import JobRepository
from encoder_service.jobs.states import EncodingStatus, Outcome, UnitKind
from hypernet.errors import EncodeFailed
from tests.factories import HASTY, PATIENT, Service
from workers import pipeline as pipeline_module

DIVERGED = "the fit diverged"


def test_from_upload_to_stream(service: Service) -> None:
    encoding = service.finish(service.submit(8, 8, 3))
    assert encoding.status is EncodingStatus.SUCCEEDED
    stream = service.stream(encoding)
    assert (
        encoding.stream_key == f"encodings/{encoding.id}/{hashlib.sha256(stream).hexdigest()}.nrv"
    )
    assert encoding.num_frames == 19
    assert encoding.result == {
        "preset": "debug",
        "frames": 19,
        "source_bytes": 23,
        "stream_bytes": len(stream),
    }
    assert service.codec.encoded == {0: 1, 1: 1, 2: 1}
    assert not any(service.scratch.rglob("*source*"))


def test_the_order_of_segments_changes_nothing(service: Service) -> None:
    pipeline = service.pipeline()
    straight = service.finish(service.submit(8, 8, 8))
    backwards = service.submit(8, 8, 8)
    pipeline.run(UnitKey(encoding_id=backwards, kind=UnitKind.PLAN))
    for index in (2, 0, 1):
        pipeline.run(UnitKey(encoding_id=backwards, kind=UnitKind.SEGMENT, index=index))
    assert service.stream(service.finish(backwards)) == service.stream(straight)


def test_every_message_twice_is_one_encoding(service: Service) -> None:
    encoding_id = service.submit(8, 8)
    pipeline = service.pipeline()
    while (key := service.jobs.queue.receive()) is not None:
        pipeline.run(key)
        pipeline.run(key)
    assert service.encoding(encoding_id).status is EncodingStatus.SUCCEEDED
    assert service.codec.encoded == {0: 1, 1: 1}
    attempts = service.queries.attempts(service.jobs.owner_id, encoding_id)
    assert [attempt.attempt for attempt in attempts] == [1, 1, 1, 1]


# Sources


def fail(service: Service, **submission: Any) -> tuple[EncodingStatus, str | None]:
    encoding = service.finish(service.jobs.submit(**submission).id)
    return encoding.status, encoding.error_code


def test_a_source_that_is_not_there(service: Service) -> None:
    assert fail(service, source="upload:upl_0") == (EncodingStatus.FAILED, "storage.missing")


def test_a_source_out_of_bounds(service: Service) -> None:
    refused = (EncodingStatus.FAILED, "access.denied")
    assert fail(service, source="s3://not-allowed/film.mp4") == refused


def test_a_source_that_is_no_video(service: Service) -> None:
    service.locations.own.put("uploads/text", io.BytesIO(b"once upon a time"))
    assert fail(service, source="upload:text") == (EncodingStatus.FAILED, "video.unreadable")
    assert service.codec.encoded == {}


def test_a_source_that_is_replaced_meanwhile(service: Service) -> None:
    source = service.upload(8, 8)
    encoding_id = service.jobs.submit(source=source).id
    pipeline = service.pipeline()
    pipeline.run(UnitKey(encoding_id=encoding_id, kind=UnitKind.PLAN))
    pipeline.sources.forget(service.encoding(encoding_id))  # as on another machine
    service.locations.own.put(source.replace("upload:", "uploads/"), io.BytesIO(b"other"))
    encoding = service.finish(encoding_id)
    assert (encoding.status, encoding.error_code) == (EncodingStatus.FAILED, "source.changed")


def test_a_source_is_fetched_once_per_machine(service: Service) -> None:
    class Counting:
        def __init__(self, store: Any) -> None:
            self.store = store
            self.streamed: list[str] = []

        def __getattr__(self, name: str) -> Any:
            return getattr(self.store, name)

        def stream(self, key: str, **options: Any) -> Any:
            self.streamed.append(key)
            return self.store.stream(key, **options)

    counting = Counting(service.locations.own)
    service.locations.own = counting
    service.finish(service.submit(8, 8, 8))
    assert sum(key.startswith("uploads/") for key in counting.streamed) == 1


# Attempts


def test_an_error_is_tried_again(service: Service) -> None:
    service.codec.errors[1] = [EncodeFailed(DIVERGED), ValueError("a bug")]
    encoding = service.finish(service.submit(8, 8))
    assert encoding.status is EncodingStatus.SUCCEEDED
    attempts = service.queries.attempts(service.jobs.owner_id, encoding.id)
    reasons = [(each.outcome, each.error_code) for each in attempts if each.unit.index == 1]
    assert reasons == [
        (Outcome.ERROR, "encode.failed"),
        (Outcome.ERROR, "internal"),
        (Outcome.DONE, None),
    ]


@pytest.mark.parametrize("error", [MemoryError(), SoftTimeLimitExceeded()])
def test_the_fallback_preset_comes_to_the_rescue(service: Service, error: Exception) -> None:
    jobs = JobRepository(service.jobs.database, replace(PATIENT, fallback_preset="cheap"))
    service.codec.errors[1] = [error] * PATIENT.max_errors
    service.jobs.repository = jobs
    encoding = service.finish(service.submit(8, 8))
    assert encoding.status is EncodingStatus.SUCCEEDED
    assert encoding.result is not None
    assert encoding.result["preset"] == "cheap"
    assert encoding.settings["preset"] == "debug"
    assert service.codec.presets == [*["debug"] * 4, "cheap", "cheap"]  # one stream, one decoder
    again = service.finish(service.submit(8, 8, settings={"preset": "cheap"}))
    assert service.stream(encoding) == service.stream(again)


def test_a_bad_segment_fails_the_encoding_and_a_retry_keeps_the_good_ones(
    service: Service,
) -> None:
    service.codec.errors[1] = [EncodeFailed(DIVERGED) for _ in range(PATIENT.max_errors)]
    failed = service.finish(service.submit(8, 8, 8))
    assert (failed.status, failed.error_code) == (EncodingStatus.FAILED, "encode.failed")
    assert failed.error_message == f"segment 1: {DIVERGED}"
    jobs = service.jobs
    commands.retry(jobs.database, jobs.queue, jobs.owner_id, failed.id)
    encoding = service.finish(failed.id)
    assert (encoding.status, encoding.retries) == (EncodingStatus.SUCCEEDED, 1)
    assert service.codec.encoded == {0: 1, 1: 1, 2: 1}


def test_an_outage_of_the_store_counts_nothing(service: Service) -> None:
    store = service.locations.own
    outages = [StorageUnavailable("out of reach") for _ in range(10)]

    class Flaky:
        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def put(self, key: str, body: Any, **options: Any) -> None:
            if outages:
                raise outages.pop()
            store.put(key, body, **options)

    encoding = service.finish(service.submit(8), store=Flaky())
    assert encoding.status is EncodingStatus.SUCCEEDED
    assert [unit.errors for unit in service.units(encoding.id)] == [0, 0, 0]


def test_a_full_disk_is_tried_again_and_then_said(service: Service) -> None:
    class Full:
        def __getattr__(self, name: str) -> Any:
            return getattr(service.locations.own, name)

        def put(self, key: str, body: Any, **options: Any) -> None:
            raise StorageFull(f"no space left for {key}, {body}, {options}")

    encoding = service.finish(service.submit(8), store=Full())
    assert (encoding.status, encoding.error_code) == (EncodingStatus.FAILED, "storage.full")
    assert service.units(encoding.id)[1].errors == PATIENT.max_errors


def test_damage_in_the_store_is_noticed(service: Service) -> None:
    def damage(_: int) -> None:
        for each in [*service.locations.own.list(f"encodings/{encoding_id}")]:
            service.locations.own.put(each.key, io.BytesIO(b"damage"))

    encoding_id = service.submit(8, 8)
    service.codec.during_segment = damage
    encoding = service.finish(encoding_id)
    assert encoding.status is EncodingStatus.FAILED
    assert "segment 0: its stored bytes are damaged" in str(encoding.error_message)


# Leases


def test_a_worker_that_was_given_up_cannot_publish(service: Service) -> None:
    """While the first worker is at the segment its lease runs out and a second one does it."""
    encoding_id = service.submit(8)
    hasty = JobRepository(service.jobs.database, HASTY)
    service.pipeline().run(UnitKey(encoding_id=encoding_id, kind=UnitKind.PLAN))
    segment = UnitKey(encoding_id=encoding_id, kind=UnitKind.SEGMENT)

    def be_overtaken(_: int) -> None:
        service.codec.during_segment = lambda _: None
        assert len(hasty.expire(limit=9)) == 1
        service.pipeline(worker="two").run(segment)

    service.codec.during_segment = be_overtaken
    service.pipeline(jobs=hasty).run(segment)
    assert service.codec.encoded == {0: 2}
    attempts = service.queries.attempts(service.jobs.owner_id, encoding_id)
    assert [(each.worker, each.outcome) for each in attempts[1:]] == [
        ("one", Outcome.LEASE_LOST),
        ("two", Outcome.DONE),
    ]
    unit = service.units(encoding_id)[1]
    assert str((unit.result or {})["key"]).endswith("segments/00000-2")
    assert service.finish(encoding_id).status is EncodingStatus.SUCCEEDED


def test_cancelling_stops_a_segment(service: Service) -> None:
    class Attentive:
        """Looks at the wish to cancel whenever it is asked."""

        def __init__(self, lease: Lease) -> None:
            self.lease = lease

        def __enter__(self) -> Attentive:
            return self

        def __exit__(self, *error: object) -> None: ...

        def report(self, done: float) -> None: ...

        def should_stop(self) -> bool:
            return not service.jobs.repository.heartbeat(self.lease)

    encoding_id = service.submit(8, 8)
    jobs = service.jobs

    def cancel(_: int) -> None:
        commands.cancel(jobs.database, jobs.owner_id, encoding_id)

    service.codec.during_segment = cancel
    encoding = service.finish(encoding_id, keep=Attentive)
    assert encoding.status is EncodingStatus.CANCELLED
    assert service.codec.encoded == {}
    attempts = service.queries.attempts(jobs.owner_id, encoding_id)
    assert [each.outcome for each in attempts] == [Outcome.DONE, Outcome.RELEASED]


class DeafRepository(JobRepository):
    """Commits, and then does not hear that it did."""

    deaf = 1

    def finish_segment(self, lease: Lease, **result: Any) -> list[UnitKey]:
        answer = super().finish_segment(lease, **result)
        if self.deaf:
            self.deaf -= 1
            raise DatabaseUnavailable("the connection was lost")
        return answer


def test_a_commit_that_was_not_heard_is_not_repeated(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_module, "COMMIT_PAUSES_SECONDS", (0.0, 0.0))
    encoding_id = service.submit(8)
    jobs = DeafRepository(service.jobs.database, PATIENT)
    service.pipeline(jobs=jobs).drain(service.jobs.queue)
    assert service.units(encoding_id)[1].status == "done"
    assert service.codec.encoded == {0: 1}
    forgetful = JobRepository(service.jobs.database, replace(PATIENT, resend_seconds=-1))
    commands.recover(forgetful, service.jobs.queue)  # its message about assembling was lost
    assert service.finish(encoding_id).status is EncodingStatus.SUCCEEDED


def test_a_database_that_stays_away_leaves_the_lease_to_the_sweeper(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    class GoneRepository(JobRepository):
        def finish_segment(self, lease: Lease, **result: Any) -> list[UnitKey]:
            raise DatabaseUnavailable(f"gone, {lease.unit} {sorted(result)}")

        def release(self, lease: Lease, *reason: Any, **pause: Any) -> None:
            raise DatabaseUnavailable(f"gone, {lease.unit} {reason} {pause}")

    monkeypatch.setattr(pipeline_module, "COMMIT_PAUSES_SECONDS", ())
    encoding_id = service.submit(8)
    service.pipeline(jobs=GoneRepository(service.jobs.database, HASTY)).drain(service.jobs.queue)
    assert service.units(encoding_id)[1].status == "leased"
    commands.recover(JobRepository(service.jobs.database, HASTY), service.jobs.queue)
    assert service.finish(encoding_id).status is EncodingStatus.SUCCEEDED


def test_urgent_encodings_come_first(service: Service) -> None:
    order: list[str] = []

    late = service.submit(8, priority=9)
    urgent = service.submit(8, priority=0)
    pipeline = service.pipeline()
    while (key := service.jobs.queue.receive()) is not None:
        order.append(key.encoding_id)
        pipeline.run(key)
    assert order == [urgent] * 3 + [late] * 3
