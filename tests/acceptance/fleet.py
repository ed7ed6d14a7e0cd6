"""Real worker processes over real servers, and everything that can be done to them."""

from __future__ import annotations

import io
import os
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from encoder_service.children import Child, Children
from encoder_service.database import Database
from encoder_service.errors import ServiceError
from encoder_service.jobs import commands
from encoder_service.jobs.queries import JobQueries
from encoder_service.jobs.records import Encoding, Submission
from encoder_service.jobs.states import ACTIVE, Event, Outcome, UnitKind, UnitStatus
from encoder_service.schema import upgrade
from encoder_service.settings import (
    DatabaseSettings,
    JobSettings,
    QueueSettings,
    Settings,
    StorageSettings,
    WorkerSettings,
)
from encoder_service.storage.base import ObjectStore, upload_key
from encoder_service.storage.locations import Locations
from tests.acceptance.twice import TwiceQueue
from tests.factories import owner
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer
from tests.servers.swift import SwiftServer

# Like the defaults but quicker, so that a test sees many lives of a worker; nobody gives up.
BRISK = JobSettings(
    lease_seconds=3.0,
    heartbeat_seconds=0.5,
    sweep_seconds=0.5,
    resend_seconds=3.0,
    retry_seconds=0.1,
    max_retry_seconds=0.5,
    outage_seconds=1.0,
    max_lost_leases=1000,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Servers:
    postgres: PostgresServer
    redis: RedisServer
    swift: SwiftServer

    def settings(self, bucket: str, jobs: JobSettings, scratch: Path) -> Settings:
        """A new database and a new bucket on these servers."""
        database = DatabaseSettings(url=self.postgres.new_database())
        with_schema = Database(database)
        upgrade(with_schema)
        with_schema.close()
        storage = StorageSettings(
            url=f"s3://{self.swift.new_bucket(bucket)}",
            endpoint=self.swift.endpoint,
            region=self.swift.region,
            access_key=self.swift.access_key,
            secret_key=self.swift.secret_key,
        )
        return Settings(
            database=database,
            storage=storage,
            queue=QueueSettings(url=self.redis.url),
            jobs=jobs,
            worker=WorkerSettings(scratch=str(scratch)),
        )


class Fleet:
    """Two workers and a sweeper until the block ends; whoever dies is started again."""

    def __init__(self, settings: Settings, logs: Path) -> None:
        self.settings = settings
        self.logs = logs
        self.database = Database(settings.database)
        self.queries = JobQueries(self.database)
        self.queue = TwiceQueue(settings.queue)
        self.owner_id = owner(self.database)
        self.store: ObjectStore = Locations(settings.storage, base_url="http://127.0.0.1:1").own
        twice = [sys.executable, "-m", "tests.acceptance.twice"]
        environment = {**os.environ, **settings.to_environment(), "OMP_NUM_THREADS": "1"}
        self._children = Children(
            [
                *(
                    Child(name=name, command=[*twice, "workers", "--name", f"{name}@%h"])
                    for name in ("one", "two")
                ),
                Child(name="sweeper", command=[*twice, "workers.sweeper"]),
            ],
            environment,
            logs,
        )
        self._seen: set[psutil.Process] = set()

    def __enter__(self) -> Self:
        self._children.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._family()
        self._children.__exit__(kind, error, traceback)
        self.queue.close()
        self.database.close()
        _, alive = psutil.wait_procs(self._seen, timeout=10)
        for process in alive:
            process.kill()
        assert alive == [], "processes outlived their worker"

    def submit(self, clip: bytes, **settings: object) -> str:
        upload_id = f"clip{random.randbytes(8).hex()}"
        self.store.put(upload_key(upload_id), io.BytesIO(clip))
        submission = Submission(
            owner_id=self.owner_id, source=f"upload:{upload_id}", settings=settings
        )
        return commands.submit(self.database, self.queue, submission).id

    def encoding(self, encoding_id: str) -> Encoding:
        return self.queries.encoding(self.owner_id, encoding_id)

    def parents(self) -> list[psutil.Process]:
        """The workers as they run now."""
        running = self._children._running
        return [psutil.Process(running[name].pid) for name in ("one", "two")]

    def _family(self) -> list[tuple[psutil.Process, list[psutil.Process]]]:
        found = []
        for parent in self.parents():
            with suppress(psutil.NoSuchProcess):
                children = parent.children()
                self._seen.update(children)
                found.append((parent, children))
        return found

    def kill(self, dice: random.Random) -> str | None:
        """SIGKILL a worker's parent or its child; None when there was nobody to kill."""
        parent, children = dice.choice(self._family() or [(None, [])])
        if parent is None or not children:
            return None
        victim, said = dice.choice([(parent, "parent"), (dice.choice(children), "child")])
        with suppress(psutil.NoSuchProcess):
            victim.kill()
        return said

    def leased(self) -> int:
        """Units that somebody is at, as far as the database can say."""
        with suppress(ServiceError):
            return sum(
                number
                for (_, status), number in self.queries.count_active_units().items()
                if status == UnitStatus.LEASED
            )
        return 0

    def ended(self, encoding_ids: Sequence[str]) -> bool:
        try:
            return all(self.encoding(each).status not in ACTIVE for each in encoding_ids)
        except ServiceError:
            return False

    def wait_until(self, holds: Callable[[], bool], seconds: float) -> None:
        pause = threading.Event()
        for _ in range(int(seconds / 0.1)):
            if holds():
                return
            pause.wait(0.1)
        raise AssertionError(f"waited {seconds} s in vain\n{self.story()}")

    def story(self) -> str:
        """The ends of the logs, for whoever must find out."""
        return "\n".join(
            f"== {path.name}\n{path.read_text()[-4000:]}" for path in sorted(self.logs.glob("*"))
        )

    def check_history(self, encoding_id: str) -> Counter[str]:
        """Assert that the events of an encoding are complete and contradict nothing; count them."""
        events = self.queries.events(self.owner_id, encoding_id)
        assert [each.sequence for each in events] == list(range(1, len(events) + 1))
        assert events[0].event is Event.SUBMITTED
        ended = [each for each in events if each.event is not Event.PREVIEWED]
        assert ended[-1].event is Event.SUCCEEDED
        units = self.queries.units(self.owner_id, encoding_id)
        for unit in units:
            mine = [each for each in events if each.unit == unit.key]
            assert [each.event is Event.LEASED for each in mine] == [True, False] * unit.attempt
            attempts = [each.attempt for each in mine]
            assert attempts == [n for n in range(1, unit.attempt + 1) for _ in range(2)]
            ends = [each.event for each in mine[1::2]]
            assert ends.count(Event.FINISHED) == 1
            assert ends[-1] is Event.FINISHED
            assert (unit.status, unit.lease_owner) == (UnitStatus.DONE, None)
        attempts_made = self.queries.attempts(self.owner_id, encoding_id)
        assert len(attempts_made) == sum(unit.attempt for unit in units)
        assert all(each.ended_at is not None for each in attempts_made)
        done = [each for each in attempts_made if each.outcome is Outcome.DONE]
        assert len(done) == len(units)
        return Counter(str(each.event) for each in events)

    def check_objects(self, encoding_id: str) -> None:
        """Assert that one stream was published and every segment lies where its row says."""
        encoding = self.encoding(encoding_id)
        keys = {info.key for info in self.store.list(f"encodings/{encoding_id}/")}
        assert {key for key in keys if key.endswith(".nrv")} == {encoding.stream_key}
        units = self.queries.units(self.owner_id, encoding_id)
        segments = [unit for unit in units if unit.key.kind is UnitKind.SEGMENT]
        assert {str(dict(unit.result or {})["key"]) for unit in segments} <= keys


def quiet_bytes(clips: Mapping[str, Path], settings: Mapping[str, object]) -> dict[str, bytes]:
    """What encoding gives when nothing goes wrong and no service is involved."""
    from hypernet.codec import encode_file
    from hypernet.plan import EncodeSettings

    wanted = replace(EncodeSettings(), **settings)  # type: ignore[arg-type]
    streams = {}
    for name, path in clips.items():
        output = path.with_suffix(".nrv")
        encode_file(path, output, wanted)
        streams[name] = output.read_bytes()
    return streams
