from __future__ import annotations

from dataclasses import replace

import pytest

from encoder_service.database import Database
from encoder_service.errors import IllegalTransition, LeaseLost
from encoder_service.jobs import commands
from encoder_service.jobs.queries import JobQueries
from encoder_service.jobs.records import Failure, UnitKey
from encoder_service.jobs.repository import JobRepository
from encoder_service.jobs.states import EncodingStatus, Event, Outcome, Phase, UnitKind, Verdict
from tests.factories import HASTY, PATIENT, Jobs, plan_of

OUR_FAULT = Failure(code="encode.failed", message="the fit diverged")
HOPELESS = Failure(code="video.unreadable", message="not a video", can_help=False)


@pytest.fixture
def jobs(database: Database) -> Jobs:
    return Jobs(database)


def assembly(encoding_id: str) -> UnitKey:
    return UnitKey(encoding_id=encoding_id, kind=UnitKind.ASSEMBLE)


def test_a_whole_encoding(jobs: Jobs) -> None:
    first, second = jobs.planned(64, 30)
    assert (
        jobs.repository.finish_segment(jobs.lease(second), result={"key": "b"}, num_frames=30) == []
    )
    (assemble,) = jobs.repository.finish_segment(
        jobs.lease(first), result={"key": "a"}, num_frames=64
    )
    lease = jobs.lease(assemble)
    jobs.repository.publish(lease)
    jobs.repository.finish_assembly(lease, result={"psnr_db": 32.5}, stream_key="x.nrv")

    queries = JobQueries(jobs.database)
    encoding = queries.encoding(jobs.owner_id, first.encoding_id)
    assert encoding.status is EncodingStatus.SUCCEEDED
    assert (encoding.phase, encoding.num_frames) == (None, 94)
    assert (encoding.result, encoding.stream_key) == ({"psnr_db": 32.5}, "x.nrv")
    units = queries.units(jobs.owner_id, encoding.id)
    assert [(unit.key.kind, unit.key.index) for unit in units] == [
        ("plan", 0),
        ("segment", 0),
        ("segment", 1),
        ("assemble", 0),
    ]
    assert sum(unit.progress_frames for unit in units) == 94
    history = queries.events(jobs.owner_id, encoding.id)
    assert [each.sequence for each in history] == list(range(1, len(history) + 1))
    assert [each.event for each in history] == [
        "submitted",
        "leased",
        "started",
        "finished",
        "leased",
        "finished",
        "leased",
        "finished",
        "leased",
        "finished",
        "succeeded",
    ]


def test_phases_follow_the_units(jobs: Jobs) -> None:
    def phase() -> Phase | None:
        return JobQueries(jobs.database).encoding(jobs.owner_id, encoding.id).phase

    encoding = jobs.submit()
    assert phase() is None
    plan = jobs.lease(plan_of(encoding))
    assert phase() is Phase.PLAN
    (segment,) = jobs.repository.finish_plan(plan, plan={}, segment_frames=[8])
    assert phase() is Phase.ENCODE
    (assemble,) = jobs.repository.finish_segment(jobs.lease(segment), result={}, num_frames=8)
    lease = jobs.lease(assemble)
    assert phase() is Phase.ASSEMBLE
    jobs.repository.publish(lease)
    assert phase() is Phase.PUBLISH


def test_a_leased_unit_is_not_leased_again(jobs: Jobs) -> None:
    key = plan_of(jobs.submit())
    jobs.lease(key, "one")
    assert jobs.repository.lease(key, "two") is None


def test_a_finished_segment_is_never_encoded_again(jobs: Jobs) -> None:
    segment, _ = jobs.planned(8, 8)
    jobs.repository.finish_segment(jobs.lease(segment), result={}, num_frames=8)
    assert jobs.repository.lease(segment, "two") is None


def test_a_message_for_an_unknown_unit_is_ignored(jobs: Jobs) -> None:
    assert jobs.repository.lease(UnitKey(encoding_id="enc_x", kind=UnitKind.PLAN), "one") is None
    encoding = jobs.submit()
    assert jobs.repository.lease(assembly(encoding.id), "one") is None


def test_finishing_twice_is_harmless(jobs: Jobs) -> None:
    """A worker that did not hear of its commit asks again."""
    encoding = jobs.submit()
    lease = jobs.lease(plan_of(encoding))
    assert len(jobs.repository.finish_plan(lease, plan={}, segment_frames=[8])) == 1
    assert jobs.repository.finish_plan(lease, plan={}, segment_frames=[8]) == []


def test_heartbeats_keep_a_lease(database: Database) -> None:
    hasty = Jobs(database, HASTY)
    lease = hasty.lease(plan_of(hasty.submit()))
    patient = JobRepository(database, PATIENT)
    assert patient.heartbeat(lease, progress_frames=0)
    assert patient.expire(limit=10) == []


def test_heartbeats_carry_progress(jobs: Jobs) -> None:
    (segment,) = jobs.planned(64)
    jobs.repository.heartbeat(jobs.lease(segment), progress_frames=24)
    units = JobQueries(jobs.database).units(jobs.owner_id, segment.encoding_id)
    assert units[1].progress_frames == 24


def test_a_zombie_cannot_write(database: Database) -> None:
    jobs = Jobs(database, HASTY)
    (segment,) = jobs.planned(8)
    zombie = jobs.lease(segment, "zombie")
    assert [unit.lease_owner for unit in jobs.repository.expire(limit=10)] == ["zombie"]
    heir = jobs.lease(segment, "heir")
    assert heir.attempt == zombie.attempt + 1
    for write in (
        lambda: jobs.repository.heartbeat(zombie),
        lambda: jobs.repository.finish_segment(zombie, result={"by": "zombie"}, num_frames=8),
        lambda: jobs.repository.fail(zombie, OUR_FAULT),
        lambda: jobs.repository.release(zombie, None, pause_seconds=0),
        lambda: jobs.repository.publish(zombie),
    ):
        with pytest.raises(LeaseLost):
            write()
    jobs.repository.finish_segment(heir, result={"by": "heir"}, num_frames=8)
    units = JobQueries(database).units(jobs.owner_id, segment.encoding_id)
    assert units[1].result == {"by": "heir"}


def test_lost_leases_end_the_encoding_at_their_own_cap(database: Database) -> None:
    jobs = Jobs(database, HASTY)
    (segment,) = jobs.planned(8)
    for attempt in range(HASTY.max_lost_leases):
        jobs.lease(segment, f"worker {attempt}")
        jobs.repository.expire(limit=10)
    encoding = JobQueries(database).encoding(jobs.owner_id, segment.encoding_id)
    assert (encoding.status, encoding.error_code) == (EncodingStatus.FAILED, "lease.lost")
    attempts = JobQueries(database).attempts(jobs.owner_id, encoding.id)
    assert [each.outcome for each in attempts[1:]] == [Outcome.LEASE_LOST] * 5


def test_errors_lead_to_the_end(jobs: Jobs) -> None:
    (segment,) = jobs.planned(8)
    verdicts = [
        jobs.repository.fail(jobs.lease(segment), OUR_FAULT) for _ in range(PATIENT.max_errors)
    ]
    assert verdicts == [Verdict.RETRY] * (PATIENT.max_errors - 1) + [Verdict.GIVE_UP]
    encoding = JobQueries(jobs.database).encoding(jobs.owner_id, segment.encoding_id)
    assert encoding.status is EncodingStatus.FAILED
    assert encoding.error_message == "segment 0: the fit diverged"


def test_what_a_dead_worker_had_is_taken_back_at_once(jobs: Jobs) -> None:
    mine, other, theirs = jobs.planned(8, 8, 8)
    for segment, worker in ((mine, "host:7"), (other, "host:7"), (theirs, "host:77")):
        jobs.lease(segment, worker)
    taken = commands.take_back(jobs.database, PATIENT, "host:7")
    assert sorted(taken) == [str(mine), str(other)]
    units = JobQueries(jobs.database).units(jobs.owner_id, mine.encoding_id)
    assert [(unit.status, unit.lost_leases) for unit in units[1:]] == [
        ("queued", 1),
        ("queued", 1),
        ("leased", 0),
    ]
    assert commands.take_back(jobs.database, PATIENT, "host:7") == []


def test_errors_and_lost_leases_are_counted_apart(database: Database) -> None:
    jobs = Jobs(database, HASTY)
    (segment,) = jobs.planned(8)
    for _ in range(2):
        jobs.lease(segment)
        jobs.repository.expire(limit=10)
        verdict = jobs.repository.fail(jobs.lease(segment), OUR_FAULT)
        assert verdict is Verdict.RETRY
    unit = JobQueries(database).units(jobs.owner_id, segment.encoding_id)[1]
    assert (unit.errors, unit.lost_leases, unit.attempt) == (2, 2, 4)


def test_a_hopeless_input_fails_at_once(jobs: Jobs) -> None:
    encoding = jobs.submit()
    assert jobs.repository.fail(jobs.lease(plan_of(encoding)), HOPELESS) is Verdict.GIVE_UP
    failed = JobQueries(jobs.database).encoding(jobs.owner_id, encoding.id)
    assert (failed.status, failed.error_code) == (EncodingStatus.FAILED, "video.unreadable")


def test_a_released_unit_counts_nothing(jobs: Jobs) -> None:
    (segment,) = jobs.planned(8)
    jobs.repository.release(jobs.lease(segment), None, pause_seconds=0)
    unit = JobQueries(jobs.database).units(jobs.owner_id, segment.encoding_id)[1]
    assert (unit.status, unit.errors, unit.lost_leases) == ("queued", 0, 0)
    assert jobs.lease(segment).attempt == 2


def test_a_pause_holds_until_its_end(jobs: Jobs) -> None:
    (segment,) = jobs.planned(8)
    jobs.repository.release(jobs.lease(segment), OUR_FAULT, pause_seconds=600)
    assert jobs.repository.lease(segment, "two") is None
    assert jobs.repository.claim_due(limit=10) == []


def test_other_segments_of_a_failed_encoding_may_still_finish(jobs: Jobs) -> None:
    good, bad = jobs.planned(8, 8)
    slow = jobs.lease(good)
    jobs.repository.fail(jobs.lease(bad), HOPELESS)
    assert jobs.repository.heartbeat(slow) is False
    jobs.repository.finish_segment(slow, result={"key": "kept"}, num_frames=8)
    commands.retry(jobs.database, jobs.queue, jobs.owner_id, good.encoding_id)
    assert jobs.repository.lease(good, "two") is None
    assert jobs.lease(bad).attempt == 2


def test_a_unit_that_outlived_a_retry_can_still_give_up(jobs: Jobs) -> None:
    slow, bad = jobs.planned(8, 8)
    lease = jobs.lease(slow)
    jobs.repository.fail(jobs.lease(bad), HOPELESS)
    commands.retry(jobs.database, jobs.queue, jobs.owner_id, slow.encoding_id)
    jobs.repository.fail(lease, HOPELESS)
    encoding = JobQueries(jobs.database).encoding(jobs.owner_id, slow.encoding_id)
    assert encoding.status is EncodingStatus.FAILED


def test_messages_that_were_lost_are_due_again(database: Database) -> None:
    jobs = Jobs(database, HASTY)
    urgent = jobs.submit(priority=0)
    late = jobs.submit(priority=9)
    assert jobs.repository.claim_due(limit=10) == []  # just sent
    assert jobs.repository.claim_again([*UnitKind], in_line=0, limit=10) == []  # as above
    due = forgetful(database).claim_again([*UnitKind], in_line=0, limit=10)
    assert [(each.unit.encoding_id, each.priority) for each in due] == [
        (urgent.id, 0),
        (late.id, 9),
    ]


def forgetful(database: Database) -> JobRepository:
    """Takes every message for an old one."""
    return JobRepository(database, replace(PATIENT, resend_seconds=-1))


def test_a_line_does_not_grow_by_being_waited_in(database: Database) -> None:
    jobs = Jobs(database)
    for _ in range(5):
        jobs.submit()
    repository = forgetful(database)
    for _ in range(20):
        assert commands.recover(repository, jobs.queue).sent == 0
    for _ in range(3):
        jobs.queue.receive()  # and is lost
    assert [commands.recover(repository, jobs.queue).sent for _ in range(3)] == [3, 0, 0]
    assert len(jobs.queue) == 5


def test_whatever_was_lost_comes_back_in_the_end(database: Database) -> None:
    jobs = Jobs(database)
    wanted = {plan_of(jobs.submit()) for _ in range(5)}
    for _ in range(2):
        jobs.queue.receive()
    seen: set[UnitKey] = set()
    while wanted - seen:
        commands.recover(forgetful(database), jobs.queue)
        key = jobs.queue.receive()
        assert key is not None
        if key not in seen:
            jobs.lease(key)
            seen.add(key)


def test_one_line_does_not_hide_that_another_is_short(database: Database) -> None:
    jobs = Jobs(database)
    (segment,) = jobs.planned(8)
    for _ in range(3):
        jobs.submit()
    segments = forgetful(database).claim_again([UnitKind.SEGMENT], in_line=0, limit=10)
    assert [each.unit for each in segments] == [segment]


def test_a_claimed_message_is_not_sent_by_a_second_sweeper(jobs: Jobs) -> None:
    (segment,) = jobs.planned(8)
    jobs.repository.release(jobs.lease(segment), None, pause_seconds=0)
    assert [each.unit for each in jobs.repository.claim_due(limit=10)] == [segment]
    assert jobs.repository.claim_due(limit=10) == []


def test_the_history_names_the_segment_and_the_worker(jobs: Jobs) -> None:
    (segment,) = jobs.planned(8)
    jobs.lease(segment, "gpu-7")
    last = JobQueries(jobs.database).events(jobs.owner_id, segment.encoding_id)[-1]
    assert (last.event, last.unit, last.attempt) == (Event.LEASED, segment, 1)
    assert last.detail == {"worker": "gpu-7"}


def test_succeeding_is_final(jobs: Jobs) -> None:
    (segment,) = jobs.planned(8)
    (assemble,) = jobs.repository.finish_segment(jobs.lease(segment), result={}, num_frames=8)
    jobs.repository.finish_assembly(jobs.lease(assemble), result={}, stream_key="x")
    with pytest.raises(IllegalTransition, match="succeeded"):
        commands.cancel(jobs.database, jobs.owner_id, segment.encoding_id)
    with pytest.raises(IllegalTransition, match="succeeded"):
        commands.retry(jobs.database, jobs.queue, jobs.owner_id, segment.encoding_id)
