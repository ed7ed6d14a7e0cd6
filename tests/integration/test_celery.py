"""A real broker and a real worker process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis

from encoder_service.celery_queue import CeleryQueue
from encoder_service.database import Database
from encoder_service.errors import QueueUnavailable
from encoder_service.jobs.records import Message, Unit, UnitKey
from encoder_service.jobs.states import EncodingStatus, UnitKind, UnitStatus
from encoder_service.settings import (
    DatabaseSettings,
    JobSettings,
    QueueSettings,
    Settings,
    StorageSettings,
    WorkerSettings,
)
from encoder_service.storage.locations import Locations
from tests.clips import write_clip
from tests.factories import Service
from tests.servers.process import ServerProcess, free_port
from tests.servers.redis import RedisServer
from workers.celery_app import configuration, worker_arguments


@pytest.fixture
def settings(redis: RedisServer, sqlite_url: str, tmp_path: Path) -> Settings:
    return Settings(
        database=DatabaseSettings(url=sqlite_url),
        storage=StorageSettings(url=f"folder:{tmp_path}/objects"),
        queue=QueueSettings(url=redis.url),
        worker=WorkerSettings(scratch=str(tmp_path / "scratch")),
        jobs=JobSettings(lease_seconds=600),
    )


@pytest.fixture
def queue(settings: Settings, redis: RedisServer) -> Iterator[CeleryQueue]:
    with Redis(port=redis.port) as broker:
        broker.flushall()
    queue = CeleryQueue(settings.queue)
    yield queue
    queue.close()


def message(kind: UnitKind, index: int = 0, priority: int = 5) -> Message:
    return Message(unit=UnitKey(encoding_id="enc_1", kind=kind, index=index), priority=priority)


def test_messages_carry_ids_only(queue: CeleryQueue, redis: RedisServer) -> None:
    queue.send(message(UnitKind.SEGMENT, index=3, priority=0))
    with Redis(port=redis.port) as broker:
        (body,) = broker.lrange("gpu", 0, -1)
    sent = json.loads(body)
    assert sent["headers"]["task"] == "workers.encode_segment"
    # What Flower and `celery inspect` show.
    shown = "{'encoding_id': 'enc_1', 'segment': 3, 'attempt': 1}"
    assert sent["headers"]["kwargsrepr"] == shown
    assert sent["content-type"] == "application/json"


def test_kinds_and_priorities_have_queues_of_their_own(
    queue: CeleryQueue, redis: RedisServer
) -> None:
    queue.send(message(UnitKind.PLAN, priority=9))
    queue.send(message(UnitKind.ASSEMBLE, priority=9))
    queue.send(message(UnitKind.SEGMENT, priority=9))
    with Redis(port=redis.port) as broker:
        lengths = {name: broker.llen(name) for name in ("cpu\x06\x169", "gpu\x06\x169")}
    assert lengths == {"cpu\x06\x169": 2, "gpu\x06\x169": 1}


def test_lines_are_counted(queue: CeleryQueue) -> None:
    assert set(queue.depths().values()) == {0}
    for priority in (0, 5, 9):
        queue.send(message(UnitKind.PLAN, priority=priority))
    queue.send(message(UnitKind.ASSEMBLE))
    queue.send(message(UnitKind.SEGMENT))
    assert queue.depths() == {
        frozenset({UnitKind.PLAN, UnitKind.ASSEMBLE}): 4,
        frozenset({UnitKind.SEGMENT}): 1,
    }


def test_a_broker_that_goes_away_is_said_and_found_again(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    broker = RedisServer(tmp_path / "redis")
    queue = CeleryQueue(QueueSettings(url=broker.url))
    queue.send(message(UnitKind.PLAN))
    assert sum(queue.depths().values()) == 1
    broker.stop()
    for _ in range(2):
        with pytest.raises(QueueUnavailable):
            queue.depths()
        with pytest.raises(QueueUnavailable):
            queue.send(message(UnitKind.PLAN))
    broker.start()
    assert sum(queue.depths().values()) == 0
    queue.send(message(UnitKind.PLAN))
    assert sum(queue.depths().values()) == 1
    queue.close()
    broker.stop()


def test_a_broker_that_is_down_is_said_at_once() -> None:
    queue = CeleryQueue(QueueSettings(url=f"redis://127.0.0.1:{free_port()}/0"))
    with pytest.raises(QueueUnavailable) as caught:
        queue.send(message(UnitKind.PLAN))
    assert caught.value.retryable
    with pytest.raises(QueueUnavailable):
        queue.depths()


def test_the_timeout_is_set_in_all_three_places(settings: Settings) -> None:
    made = configuration(replace(settings, queue=QueueSettings(visibility_seconds=77)))
    assert made["visibility_timeout"] == 77
    assert made["broker_transport_options"]["visibility_timeout"] == 77
    assert made["result_backend_transport_options"]["visibility_timeout"] == 77


def test_the_parent_of_workers_never_imports_torch() -> None:
    code = (
        "import sys, workers.celery_app, workers.tasks; "
        "sys.exit(bool({'torch', 'av', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_tasks_have_the_names_that_are_sent() -> None:
    from encoder_service.celery_queue import TASKS
    from workers import tasks

    defined = {task.name for task in (tasks.plan, tasks.encode_segment, tasks.assemble)}
    assert defined == {name for name, _ in TASKS.values()}


@pytest.fixture
def worker(settings: Settings, tmp_path: Path, queue: CeleryQueue) -> Iterator[ServerProcess]:
    del queue  # after the broker was emptied
    environment = {**os.environ, **settings.to_environment(), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "celery", "--app", "workers.celery_app"]
    process = ServerProcess(
        [*command, *worker_arguments()], log=tmp_path / "worker.log", environment=environment
    )
    yield process
    process.stop()


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    pause = threading.Event()
    for _ in range(int(seconds / 0.1)):
        if condition():
            return True
        pause.wait(0.1)
    return condition()


@pytest.fixture
def service(settings: Settings, queue: CeleryQueue, tmp_path: Path) -> Iterator[Service]:
    """Submits to the worker."""
    database = Database(settings.database)
    locations = Locations(settings.storage, base_url=settings.api.url)
    service = Service(database, locations, tmp_path / "scratch")
    service.jobs.queue = queue  # type: ignore[assignment]
    write_clip(tmp_path / "clip.mkv", num_frames=12)
    with (tmp_path / "clip.mkv").open("rb") as body:
        locations.own.put("uploads/clip", body)
    yield service
    database.close()


def submit(service: Service, *, steps: int) -> str:
    settings = {"preset": "debug", "steps": steps, "device": "cpu"}
    return service.jobs.submit(source="upload:clip", settings=settings).id


def test_a_worker_process_encodes_a_real_clip(service: Service, worker: ServerProcess) -> None:
    encoding_id = submit(service, steps=2)
    ended = eventually(lambda: service.encoding(encoding_id).finished_at is not None, 90)
    encoding = service.encoding(encoding_id)
    assert ended, worker.log.read_text()
    assert encoding.status is EncodingStatus.SUCCEEDED, encoding.error_message
    assert encoding.result is not None
    assert encoding.result["stream_bytes"] == len(service.stream(encoding))
    log = [json.loads(line) for line in worker.log.read_text().splitlines() if line.startswith("{")]
    done = [line for line in log if line["event"] == "unit done"]
    assert {line["encoding_id"] for line in done} == {encoding_id}


def test_a_child_that_dies_gives_its_lease_back_at_once(
    service: Service, worker: ServerProcess
) -> None:
    """Leases last for ten minutes here and nobody sweeps: only the parent can have done it."""
    encoding_id = submit(service, steps=1_000_000)

    def segment() -> Unit | None:
        units = [each for each in service.units(encoding_id) if each.key.kind is UnitKind.SEGMENT]
        return units[0] if units else None

    def owner() -> str | None:
        unit = segment()
        return None if unit is None else unit.lease_owner

    assert eventually(lambda: owner() is not None, 90), worker.log.read_text()
    os.kill(int(str(owner()).rpartition(":")[2]), signal.SIGKILL)
    assert eventually(lambda: owner() is None, 30), worker.log.read_text()
    unit = segment()
    assert unit is not None
    assert (unit.status, unit.lost_leases) == (UnitStatus.QUEUED, 1)
    assert unit.error_message == "the worker process ended"


def test_children_compute_with_one_thread_unless_told_otherwise() -> None:
    code = "import os, workers.celery_app; print(os.environ['OMP_NUM_THREADS'])"
    quiet = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    for environment, threads in ((quiet, "1"), (quiet | {"OMP_NUM_THREADS": "3"}, "3")):
        told = subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env=environment,
        )
        assert told.stdout.strip() == threads
