"""Several sessions at the same rows at the same moment."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any

from encoder_service.database import Database
from encoder_service.errors import ServiceError
from encoder_service.jobs import commands
from encoder_service.jobs.queries import Filter, JobQueries
from encoder_service.jobs.records import UnitKey
from encoder_service.jobs.repository import JobRepository
from encoder_service.jobs.states import EncodingStatus, Event
from encoder_service.settings import DatabaseSettings
from tests.factories import HASTY, PATIENT, Jobs, plan_of, submission

ROUNDS = 8


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Run the calls in threads that begin at the same moment; refusals are results, too."""
    barrier = Barrier(len(calls))

    def begin(call: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return call()
        except ServiceError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(begin, calls))


def test_one_of_many_workers_wins_a_lease(database: Database) -> None:
    jobs = Jobs(database)
    for _ in range(ROUNDS):
        key = plan_of(jobs.submit())
        leases = at_once(*[partial(jobs.repository.lease, key, "somebody")] * 4)
        assert sum(lease is not None for lease in leases) == 1


def test_two_last_segments_lead_to_one_assembly(database: Database) -> None:
    jobs = Jobs(database)
    for _ in range(ROUNDS):
        leases = [jobs.lease(segment) for segment in jobs.planned(8, 8)]
        sent = at_once(
            *(
                partial(jobs.repository.finish_segment, lease, result={}, num_frames=8)
                for lease in leases
            )
        )
        assert sorted(len(keys) for keys in sent) == [0, 1]


def test_an_expiry_and_a_finish_cannot_both_win(database: Database) -> None:
    jobs = Jobs(database, HASTY)
    for _ in range(ROUNDS):
        (segment,) = jobs.planned(8)
        lease = jobs.lease(segment)
        at_once(
            partial(jobs.repository.finish_segment, lease, result={}, num_frames=8),
            partial(jobs.repository.expire, limit=10),
        )
        history = JobQueries(database).events(jobs.owner_id, segment.encoding_id)
        ends = [each.event for each in history if each.unit == segment][1:]
        assert ends in ([Event.FINISHED], [Event.LEASE_LOST])


def test_two_sweepers_take_a_lease_back_once(database: Database) -> None:
    jobs = Jobs(database, HASTY)
    for _ in range(ROUNDS):
        jobs.lease(plan_of(jobs.submit()))
        recovered = at_once(*[partial(commands.recover, jobs.repository, jobs.queue)] * 3)
        assert sum(each.expired for each in recovered) == 1
        assert sum(each.sent for each in recovered) == 1


def test_one_idempotency_key_used_at_once_makes_one_encoding(database: Database) -> None:
    jobs = Jobs(database)
    for number in range(ROUNDS):
        wanted = submission(jobs.owner_id, idempotency_key=f"k{number}")
        made = at_once(*[partial(commands.submit, database, jobs.queue, wanted)] * 4)
        assert len({encoding.id for encoding in made}) == 1
    everything = JobQueries(database).encodings(jobs.owner_id, Filter(), limit=99)
    assert len(everything.items) == ROUNDS


def test_cancel_and_finish_at_once_leave_a_final_state(database: Database) -> None:
    jobs = Jobs(database)
    for _ in range(ROUNDS):
        (segment,) = jobs.planned(8)
        lease = jobs.lease(segment)
        at_once(
            partial(jobs.repository.finish_segment, lease, result={}, num_frames=8),
            partial(commands.cancel, database, jobs.owner_id, segment.encoding_id),
        )
        encoding = JobQueries(database).encoding(jobs.owner_id, segment.encoding_id)
        assert encoding.status is EncodingStatus.CANCELLED


def lease_and_release(url: str, keys: list[UnitKey], times: int) -> int:
    """Lease, keep and release so often; in a process of its own. Any refusal is an error."""
    database = Database(DatabaseSettings(url=url))
    jobs = JobRepository(database, PATIENT)
    won = 0
    for key in itertools.islice(itertools.cycle(keys), times):
        lease = jobs.lease(key, "somebody")
        if lease is not None:
            jobs.heartbeat(lease)
            jobs.release(lease, None, pause_seconds=0)
            won += 1
    database.close()
    return won


def test_four_processes_share_one_database(database: Database, database_url: str) -> None:
    jobs = Jobs(database)
    encodings = [jobs.submit() for _ in range(4)]
    keys = [plan_of(encoding) for encoding in encodings]
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        won = pool.starmap(lease_and_release, [(database_url, keys, 60)] * 4)
    queries = JobQueries(database)
    attempts = [queries.attempts(jobs.owner_id, encoding.id) for encoding in encodings]
    assert sum(map(len, attempts)) == sum(won) > 0
