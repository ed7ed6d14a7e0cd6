from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

import pytest

from encoder_service.database import Database
from encoder_service.errors import (
    IdempotencyMismatch,
    IllegalTransition,
    NotFound,
    QueueUnavailable,
)
from encoder_service.jobs import commands
from encoder_service.jobs.queries import Filter, JobQueries
from encoder_service.jobs.records import Failure, Message, UnitKey
from encoder_service.jobs.repository import JobRepository
from encoder_service.jobs.states import EncodingStatus, UnitKind
from encoder_service.queue import InMemoryQueue
from tests.factories import HASTY, PATIENT, Jobs, owner, plan_of, submission

HOPELESS = Failure(code="video.unreadable", message="not a video", can_help=False)


@pytest.fixture
def jobs(database: Database) -> Jobs:
    return Jobs(database)


@pytest.fixture
def queries(database: Database) -> JobQueries:
    return JobQueries(database)


class BrokenQueue:
    def send(self, message: Message) -> None:
        raise QueueUnavailable(f"the broker is down, {message.unit} was not sent")

    def send_listing(self, batch_id: str, *, priority: int) -> None:
        raise QueueUnavailable(f"secret of {batch_id}, {priority}")

    def depths(self) -> NoReturn:
        raise QueueUnavailable("the broker is down")


def test_submitting_stores_and_sends(jobs: Jobs, queries: JobQueries) -> None:
    encoding = jobs.submit(labels=("cats", "night"), priority=2)
    assert jobs.queue.receive() == plan_of(encoding)
    assert queries.encoding(jobs.owner_id, encoding.id) == encoding
    assert (encoding.status, encoding.labels) == (EncodingStatus.QUEUED, ("cats", "night"))


def test_a_submission_survives_a_broken_broker(database: Database) -> None:
    encoding = commands.submit(database, BrokenQueue(), submission(owner(database)))
    jobs = JobRepository(database, replace(PATIENT, resend_seconds=-1))
    assert commands.recover(jobs, BrokenQueue()).sent == 0
    queue = InMemoryQueue()
    commands.recover(jobs, queue)
    assert queue.receive() == plan_of(encoding)


def test_an_idempotency_key_gives_the_same_encoding(jobs: Jobs) -> None:
    first = jobs.submit(idempotency_key="k")
    assert jobs.submit(idempotency_key="k").id == first.id
    assert len(jobs.queue) == 1


def test_an_idempotency_key_serves_one_request_only(jobs: Jobs) -> None:
    jobs.submit(idempotency_key="k")
    with pytest.raises(IdempotencyMismatch, match="another submission"):
        jobs.submit(idempotency_key="k", source="upload:2")


def test_idempotency_keys_of_two_owners_do_not_meet(database: Database) -> None:
    one, two = Jobs(database), Jobs(database)
    assert one.submit(idempotency_key="k").id != two.submit(idempotency_key="k").id


def test_what_belongs_to_another_key_is_not_found(jobs: Jobs, queries: JobQueries) -> None:
    encoding = jobs.submit()
    stranger = owner(jobs.database, "stranger")
    for peek in (queries.encoding, queries.units, queries.attempts, queries.events):
        with pytest.raises(NotFound):
            peek(stranger, encoding.id)
    with pytest.raises(NotFound):
        commands.cancel(jobs.database, stranger, encoding.id)
    with pytest.raises(NotFound):
        commands.retry(jobs.database, jobs.queue, stranger, encoding.id)
    assert queries.encodings(stranger, Filter(), limit=9).items == ()


def test_a_queued_encoding_is_cancelled_at_once(jobs: Jobs) -> None:
    encoding = jobs.submit()
    cancelled = commands.cancel(jobs.database, jobs.owner_id, encoding.id)
    assert cancelled.status is EncodingStatus.CANCELLED
    assert jobs.repository.lease(plan_of(encoding), "one") is None
    again = commands.cancel(jobs.database, jobs.owner_id, encoding.id)
    assert again == cancelled


def test_a_running_encoding_is_cancelled_when_its_last_worker_stops(
    jobs: Jobs, queries: JobQueries
) -> None:
    first, second = jobs.planned(8, 8)
    one, two = jobs.lease(first), jobs.lease(second)
    asked = commands.cancel(jobs.database, jobs.owner_id, first.encoding_id)
    assert asked.status is EncodingStatus.ENCODING
    assert asked.cancel_requested_at is not None
    assert jobs.repository.heartbeat(one) is False
    jobs.repository.release(one, None, pause_seconds=0)
    assert queries.encoding(jobs.owner_id, first.encoding_id).status is EncodingStatus.ENCODING
    jobs.repository.finish_segment(two, result={}, num_frames=8)
    assert queries.encoding(jobs.owner_id, first.encoding_id).status is EncodingStatus.CANCELLED


def test_cancelling_does_not_wait_for_a_dead_worker(
    database: Database, queries: JobQueries
) -> None:
    jobs = Jobs(database, HASTY)
    encoding = jobs.submit()
    jobs.lease(plan_of(encoding))
    commands.cancel(database, jobs.owner_id, encoding.id)
    commands.recover(jobs.repository, jobs.queue)
    assert queries.encoding(jobs.owner_id, encoding.id).status is EncodingStatus.CANCELLED


def test_a_retry_keeps_the_id_and_what_is_done(jobs: Jobs, queries: JobQueries) -> None:
    good, bad = jobs.planned(8, 8)
    jobs.repository.finish_segment(jobs.lease(good), result={"key": "kept"}, num_frames=8)
    jobs.repository.fail(jobs.lease(bad), HOPELESS)
    sent_before = len(jobs.queue)
    encoding = commands.retry(jobs.database, jobs.queue, jobs.owner_id, good.encoding_id)
    assert (encoding.id, encoding.retries) == (good.encoding_id, 1)
    assert (encoding.status, encoding.error_code) == (EncodingStatus.QUEUED, None)
    assert len(jobs.queue) == sent_before + 1
    units = queries.units(jobs.owner_id, encoding.id)
    assert [unit.status for unit in units] == ["done", "done", "queued"]
    assert (units[2].errors, units[2].error_code) == (0, None)


def test_a_cancelled_encoding_can_be_retried(jobs: Jobs) -> None:
    encoding = jobs.submit()
    commands.cancel(jobs.database, jobs.owner_id, encoding.id)
    commands.retry(jobs.database, jobs.queue, jobs.owner_id, encoding.id)
    assert jobs.lease(plan_of(encoding)).attempt == 1


def test_only_what_ended_badly_can_be_retried(jobs: Jobs) -> None:
    encoding = jobs.submit()
    with pytest.raises(IllegalTransition, match="queued cannot be retried"):
        commands.retry(jobs.database, jobs.queue, jobs.owner_id, encoding.id)


def test_recovering_hands_a_lost_unit_to_the_next_worker(database: Database) -> None:
    jobs = Jobs(database, HASTY)
    encoding = jobs.submit()
    jobs.queue.receive()
    jobs.lease(plan_of(encoding), "dies")
    recovered = commands.recover(jobs.repository, jobs.queue)
    assert (recovered.expired, recovered.sent) == (1, 1)
    assert jobs.queue.receive() == plan_of(encoding)


def test_pages_hold_every_encoding_once(jobs: Jobs, queries: JobQueries) -> None:
    submitted = [jobs.submit().id for _ in range(7)]
    seen: list[str] = []
    cursor = None
    while True:
        page = queries.encodings(jobs.owner_id, Filter(), limit=3, cursor=cursor)
        seen += [encoding.id for encoding in page.items]
        jobs.submit()  # what arrives meanwhile shifts nothing
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == sorted(submitted, reverse=True)


def test_a_full_last_page_has_no_next(jobs: Jobs, queries: JobQueries) -> None:
    for _ in range(3):
        jobs.submit()
    assert queries.encodings(jobs.owner_id, Filter(), limit=3).next_cursor is None


def test_lists_are_filtered(jobs: Jobs, queries: JobQueries) -> None:
    cats = jobs.submit(labels=("cats",), batch_id="bat_1")
    dogs = jobs.submit(labels=("dogs", "night"))
    commands.cancel(jobs.database, jobs.owner_id, dogs.id)
    for wanted, expected in (
        (Filter(label="cats"), cats.id),
        (Filter(label="night"), dogs.id),
        (Filter(batch_id="bat_1"), cats.id),
        (Filter(status=EncodingStatus.CANCELLED), dogs.id),
        (Filter(status=EncodingStatus.QUEUED, label="cats", batch_id="bat_1"), cats.id),
    ):
        page = queries.encodings(jobs.owner_id, wanted, limit=9)
        assert [encoding.id for encoding in page.items] == [expected]


def test_history_can_be_read_in_parts(jobs: Jobs, queries: JobQueries) -> None:
    (segment,) = jobs.planned(8)
    whole = queries.events(jobs.owner_id, segment.encoding_id)
    rest = queries.events(jobs.owner_id, segment.encoding_id, after_sequence=2)
    assert rest == whole[2:]


def test_unit_keys_read_well() -> None:
    assert str(UnitKey(encoding_id="enc_1", kind=UnitKind.SEGMENT, index=3)) == "enc_1/segment/3"
    assert str(UnitKey(encoding_id="enc_1", kind=UnitKind.PLAN)) == "enc_1/plan"
