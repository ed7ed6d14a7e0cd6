"""Two workers, a real database and a real S3 server, and messages that go wrong."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from encoder_service.database import Database
from encoder_service.jobs import commands
from encoder_service.jobs.records import Encoding, Message, UnitKey
from encoder_service.jobs.repository import JobRepository
from encoder_service.jobs.states import EncodingStatus, Event, Outcome, UnitKind, UnitStatus
from encoder_service.settings import DatabaseSettings, StorageSettings
from encoder_service.storage.locations import Locations
from tests.factories import PATIENT, Service, submission
from tests.servers.swift import SwiftServer
from workers.lease import LeaseKeeper

BRISK = replace(
    PATIENT, lease_seconds=2.0, heartbeat_seconds=0.05, resend_seconds=0.3, max_lost_leases=100
)


class Killed(BaseException):
    """Ends a worker the way SIGKILL does: it hands nothing back and tells nobody."""


@pytest.fixture
def service(
    postgres_url: str, swift: SwiftServer, bucket: str, tmp_path: Path
) -> Iterator[Service]:
    database = Database(DatabaseSettings(url=postgres_url))
    storage = StorageSettings(
        url=f"s3://{bucket}/two-workers",
        endpoint=swift.endpoint,
        region=swift.region,
        access_key=swift.access_key,
        secret_key=swift.secret_key,
    )
    service = Service(database, Locations(storage, base_url="http://127.0.0.1:1"), tmp_path)
    service.jobs.repository = JobRepository(database, BRISK)
    yield service
    database.close()


class LossyQueue:
    """Delivers to whoever asks; loses, repeats and reorders messages."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._messages: list[UnitKey] = []
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        with self._lock:
            copies = self._random.choice([0, 1, 1, 2])
            self._messages += [message.unit] * copies
            self._random.shuffle(self._messages)

    def send_listing(self, batch_id: str, *, priority: int) -> None:
        raise AssertionError(f"there is no batch here: {batch_id}, {priority}")

    def depths(self) -> dict[frozenset[UnitKind], int]:
        with self._lock:
            return {frozenset(UnitKind): len(self._messages)}

    def receive(self) -> UnitKey | None:
        with self._lock:
            return self._messages.pop() if self._messages else None


class Workers:
    """Two threads that work off a queue until the block ends, whoever dies meanwhile."""

    def __init__(self, service: Service, queue: LossyQueue) -> None:
        self.service = service
        self.queue = queue
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(2)

    def __enter__(self) -> Workers:
        self._running = [self._pool.submit(self._work, name) for name in ("one", "two")]
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._pool.shutdown()
        for each in self._running:
            each.result()

    def wait_for(self, encoding_ids: list[str]) -> list[Encoding]:
        """Sweep until every encoding has ended."""
        for _ in range(600):
            commands.recover(self.service.jobs.repository, self.queue)
            encodings = [self.service.encoding(each) for each in encoding_ids]
            if all(each.finished_at for each in encodings):
                return encodings
            self._stop.wait(0.05)
        raise AssertionError(f"not finished: {encodings}")

    def _work(self, name: str) -> None:
        jobs = self.service.jobs.repository
        pipeline = self.service.pipeline(
            queue=self.queue,
            worker=name,
            keep=lambda lease: LeaseKeeper(jobs, lease, threading.Event()),
        )
        while not self._stop.is_set():
            key = self.queue.receive()
            if key is None:
                self._stop.wait(0.01)
            else:
                with suppress(Killed):
                    pipeline.run(key)


def test_workers_die_messages_go_astray_and_every_encoding_succeeds(service: Service) -> None:
    jobs = service.jobs
    quiet = [service.finish(service.submit(8, 8, index + 1)) for index in range(3)]
    deaths = iter(range(4))

    def die_sometimes(_: int) -> None:
        if next(deaths, None) is not None:
            raise Killed

    service.codec.during_segment = die_sometimes
    queue = LossyQueue(seed=7)
    submitted = [
        commands.submit(jobs.database, queue, submission(jobs.owner_id, source=each.source)).id
        for each in quiet
    ]
    with Workers(service, queue) as workers:
        ended = workers.wait_for(submitted)

    assert [each.status for each in ended] == [EncodingStatus.SUCCEEDED] * 3
    assert [service.stream(each) for each in ended] == [service.stream(each) for each in quiet]
    for encoding in ended:
        units = service.units(encoding.id)
        assert {(unit.status, unit.lease_owner) for unit in units} == {(UnitStatus.DONE, None)}
        history = service.queries.events(jobs.owner_id, encoding.id)
        finished = [each.unit for each in history if each.event is Event.FINISHED]
        assert sorted(map(str, finished)) == sorted(str(unit.key) for unit in units)
    attempts = [
        attempt
        for encoding in ended
        for attempt in service.queries.attempts(jobs.owner_id, encoding.id)
    ]
    assert sum(attempt.outcome is Outcome.LEASE_LOST for attempt in attempts) == 4
