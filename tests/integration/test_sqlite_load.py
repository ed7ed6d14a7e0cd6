"""SQLite under four processes that never pause."""

from __future__ import annotations

import itertools
import multiprocessing

from encoder_service.database import Database
from encoder_service.jobs.queries import JobQueries
from encoder_service.jobs.records import UnitKey
from encoder_service.jobs.repository import JobRepository
from encoder_service.jobs.states import Event
from encoder_service.settings import DatabaseSettings
from tests.factories import PATIENT, Jobs, plan_of

PROCESSES, TRANSITIONS = 4, 1000


def change_states(url: str, keys: list[UnitKey]) -> int:
    """Lease and release; a refusal by the database, such as a lock, is raised."""
    database = Database(DatabaseSettings(url=url))
    jobs = JobRepository(database, PATIENT)
    transitions = 0
    for key in itertools.cycle(keys):
        lease = jobs.lease(key, "somebody")
        if lease is not None:
            jobs.release(lease, None, pause_seconds=0)
            transitions += 2
        if transitions >= TRANSITIONS:
            database.close()
            return transitions
    raise AssertionError("there are no keys")


def test_four_processes_change_states_a_thousand_times_each(sqlite_url: str) -> None:
    database = Database(DatabaseSettings(url=sqlite_url))
    jobs = Jobs(database)
    encodings = [jobs.submit() for _ in range(2 * PROCESSES)]  # enough for everybody, shared by all
    keys = [plan_of(encoding) for encoding in encodings]
    turns = [keys[2 * index :] + keys[: 2 * index] for index in range(PROCESSES)]
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        made = pool.starmap(change_states, [(sqlite_url, turn) for turn in turns])
    assert made == [TRANSITIONS] * PROCESSES
    queries = JobQueries(database)
    histories = [queries.events(jobs.owner_id, encoding.id) for encoding in encodings]
    changed = [
        each
        for history in histories
        for each in history
        if each.event in {Event.LEASED, Event.RELEASED}
    ]
    assert len(changed) == PROCESSES * TRANSITIONS
    for history in histories:
        assert [each.sequence for each in history] == list(range(1, len(history) + 1))
    database.close()
