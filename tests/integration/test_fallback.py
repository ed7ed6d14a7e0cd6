"""An encoding starts over with a cheaper preset, on each kind of database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from encoder_service.database import Database
from encoder_service.errors import LeaseLost
from encoder_service.jobs import commands
from encoder_service.jobs.queries import JobQueries
from encoder_service.jobs.records import Encoding, Failure, Unit, UnitKey
from encoder_service.jobs.states import EncodingStatus, Event, Outcome, Phase, UnitStatus, Verdict
from encoder_service.settings import JobSettings
from tests.factories import HASTY, PATIENT, Jobs, plan_of

TOO_MUCH = Failure(code="encode.out_of_memory", message="no memory left", too_much=True)
OUR_FAULT = Failure(code="encode.failed", message="the fit diverged")
CHEAPER = replace(PATIENT, fallback_preset="fast", max_errors=2)


@pytest.fixture
def jobs(database: Database) -> Jobs:
    return Jobs(database, CHEAPER)


def encoding_of(jobs: Jobs, key: UnitKey) -> Encoding:
    return JobQueries(jobs.database).encoding(jobs.owner_id, key.encoding_id)


def units_of(jobs: Jobs, key: UnitKey) -> list[Unit]:
    return JobQueries(jobs.database).units(jobs.owner_id, key.encoding_id)


def fall_back(jobs: Jobs, segment: UnitKey) -> None:
    verdicts = [jobs.repository.fail(jobs.lease(segment), TOO_MUCH) for _ in range(2)]
    assert verdicts == [Verdict.RETRY, Verdict.FALL_BACK]


def replan(jobs: Jobs, segment: UnitKey, *frames: int) -> list[UnitKey]:
    lease = jobs.lease(plan_of(encoding_of(jobs, segment)))
    assert lease.fallback_preset == "fast"
    return jobs.repository.finish_plan(lease, plan={"cuts": [1]}, segment_frames=frames)


def test_everything_begins_again_with_the_plan(jobs: Jobs) -> None:
    done, leased, bad = jobs.planned(8, 8, 8)
    jobs.repository.finish_segment(jobs.lease(done), result={"key": "dropped"}, num_frames=8)
    slow = jobs.lease(leased)
    fall_back(jobs, bad)

    encoding = encoding_of(jobs, bad)
    assert (encoding.status, encoding.phase) == (EncodingStatus.ENCODING, Phase.PLAN)
    assert (encoding.plan, encoding.num_frames) == (None, None)
    units = units_of(jobs, bad)
    assert {unit.status for unit in units} == {UnitStatus.QUEUED}
    assert {(unit.fallback_preset, unit.errors) for unit in units} == {("fast", 0)}
    assert [unit.result for unit in units] == [None] * 4
    assert jobs.repository.lease(done, "early") is None  # nothing but the plan may begin
    assert [each.unit for each in jobs.repository.claim_due(limit=9)] == [plan_of(encoding)]
    with pytest.raises(LeaseLost):
        jobs.repository.finish_segment(slow, result={"key": "late"}, num_frames=8)

    assert replan(jobs, bad, 8, 8, 8) == [done, leased, bad]
    assert jobs.lease(leased).attempt == slow.attempt + 1
    with pytest.raises(LeaseLost):
        jobs.repository.heartbeat(slow)


def test_the_story_is_told(jobs: Jobs) -> None:
    slow, bad = jobs.planned(8, 8)
    jobs.lease(slow)
    fall_back(jobs, bad)
    queries = JobQueries(jobs.database)
    told = [
        (each.event, None if each.unit is None else str(each.unit.kind))
        for each in queries.events(jobs.owner_id, bad.encoding_id)
    ]
    assert told[-4:-1] == [
        (Event.ERRED, "segment"),
        *sorted([(Event.FELL_BACK, "plan"), (Event.FELL_BACK, "segment")]),
    ]
    last = queries.events(jobs.owner_id, bad.encoding_id)[-1]
    assert (last.event, last.unit) == (Event.FELL_BACK, None)
    assert last.detail == {"from": "debug", "to": "fast", "code": "encode.out_of_memory"}
    ended = {(each.unit, each.outcome) for each in queries.attempts(jobs.owner_id, bad.encoding_id)}
    assert (slow, Outcome.RELEASED) in ended
    assert (slow, None) not in ended


@pytest.mark.parametrize("frames", [(24,), (8, 16), (6, 6, 6, 6)])
def test_the_new_plan_may_cut_differently(jobs: Jobs, frames: tuple[int, ...]) -> None:
    _, bad = jobs.planned(12, 12)
    fall_back(jobs, bad)
    segments = replan(jobs, bad, *frames)
    assert [unit.num_frames for unit in units_of(jobs, bad)[1:]] == list(frames)
    next_units: list[UnitKey] = []
    for segment, number in zip(segments, frames, strict=True):
        lease = jobs.lease(segment)
        assert lease.fallback_preset == "fast"
        next_units += jobs.repository.finish_segment(
            lease, result={"key": "new"}, num_frames=number
        )
    (assemble,) = next_units
    lease = jobs.lease(assemble)
    assert lease.fallback_preset == "fast"
    jobs.repository.finish_assembly(lease, result={"preset": "fast"}, stream_key="x")
    assert encoding_of(jobs, bad).status is EncodingStatus.SUCCEEDED


def test_there_is_one_fallback(jobs: Jobs) -> None:
    (segment,) = jobs.planned(8)
    fall_back(jobs, segment)
    replan(jobs, segment, 8)
    verdicts = [jobs.repository.fail(jobs.lease(segment), TOO_MUCH) for _ in range(2)]
    assert verdicts == [Verdict.RETRY, Verdict.GIVE_UP]
    assert encoding_of(jobs, segment).error_message == "segment 0: no memory left"
    commands.retry(jobs.database, jobs.queue, jobs.owner_id, segment.encoding_id)
    assert jobs.lease(segment).fallback_preset == "fast"  # its neighbours have that decoder


@pytest.mark.parametrize(
    ("settings", "preset", "failure"),
    [
        (replace(CHEAPER, fallback_preset=""), "debug", TOO_MUCH),
        (CHEAPER, "fast", TOO_MUCH),
        (CHEAPER, "debug", OUR_FAULT),
    ],
)
def test_what_cannot_help_is_not_tried(
    database: Database, settings: JobSettings, preset: str, failure: Failure
) -> None:
    jobs = Jobs(database, settings)
    (segment,) = jobs.planned(8, settings={"preset": preset})
    verdicts = [jobs.repository.fail(jobs.lease(segment), failure) for _ in range(2)]
    assert verdicts == [Verdict.RETRY, Verdict.GIVE_UP]


def test_workers_that_keep_dying_had_too_much_to_do(database: Database) -> None:
    jobs = Jobs(database, replace(HASTY, fallback_preset="fast", max_lost_leases=2))
    (segment,) = jobs.planned(8)
    for _ in range(2):
        jobs.lease(segment)
        jobs.repository.expire(limit=9)
    encoding = encoding_of(jobs, segment)
    assert (encoding.status, encoding.phase) == (EncodingStatus.ENCODING, Phase.PLAN)
    assert jobs.lease(plan_of(encoding)).fallback_preset == "fast"


def test_a_cancelled_encoding_does_not_start_over(jobs: Jobs) -> None:
    (segment,) = jobs.planned(8)
    jobs.repository.fail(jobs.lease(segment), TOO_MUCH)
    lease = jobs.lease(segment)
    commands.cancel(jobs.database, jobs.owner_id, segment.encoding_id)
    jobs.repository.fail(lease, TOO_MUCH)
    encoding = encoding_of(jobs, segment)
    assert encoding.status is EncodingStatus.CANCELLED
    assert encoding.plan is not None
