"""`nrv batch` over a real S3 server: interrupted, its worker killed, resumed; nothing twice."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from encoder_service.api.app import create_app
from encoder_service.api.context import Context
from encoder_service.api_keys import create_key
from encoder_service.database import Database
from encoder_service.jobs import commands
from encoder_service.jobs.listings import ListingRepository
from encoder_service.jobs.queries import Filter
from encoder_service.jobs.records import Message, UnitKey
from encoder_service.jobs.repository import JobRepository
from encoder_service.jobs.states import Outcome, UnitKind
from encoder_service.queue import InMemoryQueue
from encoder_service.settings import DatabaseSettings, Settings, StorageSettings
from encoder_service.storage.locations import Locations
from encoder_service.storage.s3 import S3ObjectStore
from tests.factories import PATIENT, Service
from tests.fake_codec import source_of
from tests.servers.swift import SwiftServer
from workers.lease import LeaseKeeper
from workers.listing import Lister

NRV = [sys.executable, "-m", "encoder_service.cli.main"]
NUM_OBJECTS = 200
BRISK = replace(PATIENT, lease_seconds=3.0, heartbeat_seconds=0.2, resend_seconds=5)


class Killed(BaseException):
    """Ends a worker the way SIGKILL does: it hands nothing back and tells nobody."""


class SharedQueue(InMemoryQueue):
    """For several threads."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        with self._lock:
            super().send(message)

    def receive(self) -> UnitKey | None:
        with self._lock:
            return super().receive()


class Mortal(ListingRepository):
    """Dies once, after its first page is stored."""

    deaths = 0

    def submit_page(self, *arguments: Any, **options: Any) -> list[Message]:
        messages = super().submit_page(*arguments, **options)
        if self.deaths == 0:
            self.deaths += 1
            raise Killed
        return messages


@dataclass(frozen=True, kw_only=True)
class Running:
    """An API, two workers and a sweeper, as threads, around one database and one bucket."""

    service: Service
    environment: dict[str, str]
    listings: Mortal

    def nrv(self, *arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*NRV, *map(str, arguments)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finished(self, *arguments: object) -> tuple[int, str, str]:
        """Exit status, stdout, stderr."""
        process = self.nrv(*arguments)
        out, err = process.communicate(timeout=200)
        return process.returncode, out, err


@pytest.fixture
def settings(postgres_url: str, swift: SwiftServer, tmp_path: Path) -> Settings:
    storage = StorageSettings(
        url=f"folder:{tmp_path}/objects",
        endpoint=swift.endpoint,
        region=swift.region,
        access_key=swift.access_key,
        secret_key=swift.secret_key,
        source_buckets=("tests", "missing"),
    )
    return Settings(database=DatabaseSettings(url=postgres_url), storage=storage, jobs=BRISK)


@pytest.fixture
def running(settings: Settings, bucket: str, tmp_path: Path) -> Iterator[Running]:
    assert bucket in settings.storage.source_buckets
    database = Database(settings.database)
    service = Service(
        database, Locations(settings.storage, base_url="http://127.0.0.1:1"), tmp_path
    )
    service.jobs.queue = SharedQueue()
    service.jobs.repository = JobRepository(database, BRISK)
    listings = Mortal(database, BRISK)
    key, secret = create_key(database, "batches")
    service.jobs.owner_id = key.id
    with api(settings, service) as url, workers(service, listings):
        environment = {
            name: text for name, text in os.environ.items() if not name.startswith("NRV_")
        }
        environment |= {"NRV_URL": url, "NRV_API_KEY": secret}
        yield Running(service=service, environment=environment, listings=listings)
    database.close()


@contextmanager
def api(settings: Settings, service: Service) -> Iterator[str]:
    context = Context(
        settings=settings,
        database=service.jobs.database,
        queue=service.jobs.queue,
        locations=service.locations,
    )
    server = uvicorn.Server(uvicorn.Config(create_app(context), log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@contextmanager
def workers(service: Service, listings: Mortal) -> Iterator[None]:
    stop = threading.Event()
    jobs, queue = service.jobs.repository, service.jobs.queue
    pipeline = service.pipeline(keep=lambda lease: LeaseKeeper(jobs, lease, stop))
    lister = Lister(
        listings=listings, queue=queue, locations=service.locations, worker="one", shutdown=stop
    )

    def work() -> None:
        while not stop.is_set():
            key = queue.receive()
            if key is None:
                stop.wait(0.01)
            else:
                pipeline.run(key)

    def look_after() -> None:
        while not stop.is_set():
            commands.recover(jobs, queue)
            while (batch_id := queue.receive_listing()) is not None:
                with suppress(Killed):
                    lister.run(batch_id)
            stop.wait(0.1)

    with ThreadPoolExecutor(3) as pool:
        threads = [pool.submit(each) for each in (work, work, look_after)]
        try:
            yield
        finally:
            stop.set()
    for each in threads:
        each.result()


def upload(settings: Settings, keys: list[str], body: Callable[[int], bytes]) -> None:
    store = S3ObjectStore(settings.storage, "tests")
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda n: store.put(keys[n], io.BytesIO(body(n))), range(len(keys))):
            pass


def keys_below(settings: Settings, prefix: str) -> list[str]:
    return [each.key for each in S3ObjectStore(settings.storage, "tests").list(prefix)]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_200_objects_interrupted_and_resumed_are_200_results(
    running: Running, settings: Settings, tmp_path: Path
) -> None:
    films = [f"films/{number:03}.mp4" for number in range(NUM_OBJECTS)]
    upload(settings, films, lambda number: source_of(number % 9 + 1))
    upload(settings, ["films/notes.txt"], lambda _: b"no film")
    results = tmp_path / "results.csv"
    command = (
        *("batch", "s3://tests/films/", "--include", "*.mp4", "--preset", "debug"),
        *("--out", "s3://tests/streams", "--csv", results),
    )
    first = running.nrv(*command)
    assert first.stderr is not None
    batch_id = first.stderr.readline().split()[1]
    owner = running.service.jobs.owner_id
    pause = threading.Event()
    for _ in range(1200):
        if running.service.queries.count_batch(batch_id)["succeeded"] >= 10:
            break
        pause.wait(0.05)
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=60)
    assert first.returncode == 130, said
    assert f"{batch_id} goes on" in said
    assert not results.exists()

    status, out, err = running.finished(*command)
    assert status == 0, err
    assert "200" in out
    assert batch_id in err
    rows = table(results)
    assert sorted(row["source"] for row in rows) == [f"s3://tests/{film}" for film in films]
    assert {row["status"] for row in rows} == {"succeeded"}
    assert all(int(row["stream_bytes"]) > 0 for row in rows)
    assert keys_below(settings, "streams/") == [
        f"streams/{film.removeprefix('films/')}.nrv" for film in films
    ]

    assert running.listings.deaths == 1
    batch = running.service.queries.batch(owner, batch_id)
    assert batch.attempt >= 3  # killed, continued, and listed again by the second command
    page = running.service.queries.encodings(owner, Filter(), limit=1000)
    assert len(page.items) == NUM_OBJECTS
    assert {each.batch_id for each in page.items} == {batch_id}
    for encoding in page.items:
        attempts = running.service.queries.attempts(owner, encoding.id)
        done = [each.unit.kind for each in attempts if each.outcome is Outcome.DONE]
        assert sorted(done) == sorted([UnitKind.PLAN, UnitKind.SEGMENT, UnitKind.ASSEMBLE])


def test_a_part_that_fails_is_named_and_can_be_tried_again(
    running: Running, settings: Settings, tmp_path: Path
) -> None:
    upload(settings, ["part/a.mp4", "part/b.mp4"], lambda number: [b"text", source_of(8)][number])
    results = tmp_path / "results.csv"
    command = ("batch", "s3://tests/part/", "--preset", "debug", "--csv", results)
    status, out, err = running.finished(*command)
    assert status == 6, err
    assert "1 of 2 encodings did not succeed" in err
    assert "failed" in out
    bad = {row["source"]: row for row in table(results)}["s3://tests/part/a.mp4"]
    assert (bad["status"], bad["error_code"]) == ("failed", "video.unreadable")
    assert str(tmp_path) not in bad["error_message"]

    status, out, _ = running.finished(*command, "--retry-failed", "--json")
    assert status == 6
    said = json.loads(out)
    assert said["encodings"] == {
        "queued": 0,
        "encoding": 0,
        "succeeded": 1,
        "failed": 1,
        "cancelled": 0,
    }
    assert said["totals"]["succeeded"]["encodings"] == 1
    retries = running.service.queries.encodings(
        running.service.jobs.owner_id, Filter(), limit=9
    ).items
    assert sorted(each.retries for each in retries) == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (["s3://tests/nothing/"], 3, "nothing there matches"),
        (["s3://missing/films/"], 6, "cannot be listed"),
        (["s3://secret/films/"], 4, "access.denied"),
        (["s3://tests/films/", "--out", "s3://secret/x"], 4, "access.denied"),
        (["films/"], 4, "request.invalid"),
        (["s3://tests/", "--preset", "nerv-xxl"], 4, "nerv-s"),
        (["s3://tests/", "--callback", "http://127.0.0.1/"], 4, "access.denied"),
    ],
)
def test_what_is_refused(
    running: Running, tmp_path: Path, arguments: list[str], status: int, reason: str
) -> None:
    ended, _, err = running.finished("batch", *arguments, "--csv", tmp_path / "results.csv")
    assert ended == status, err
    assert reason in err
