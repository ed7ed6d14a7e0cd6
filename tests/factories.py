"""Makes what tests of the service begin with."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from encoder_service.api_keys import create_key
from encoder_service.database import Database
from encoder_service.jobs import commands
from encoder_service.jobs.queries import JobQueries
from encoder_service.jobs.records import Encoding, Lease, Submission, Unit, UnitKey, new_id
from encoder_service.jobs.repository import JobRepository
from encoder_service.jobs.states import UnitKind
from encoder_service.queue import InMemoryQueue
from encoder_service.settings import JobSettings
from encoder_service.storage.base import upload_key
from encoder_service.storage.locations import Locations
from hypernet.errors import Cancelled
from tests.fake_codec import FakeCodec, source_of
from workers.lease import NullLease
from workers.pipeline import Pipeline
from workers.previews import Previewer
from workers.sources import SourceCache
from workers.sweeper import sweep

# Leases that last as long as the test; nothing waits.
PATIENT = JobSettings(
    lease_seconds=600, retry_seconds=0, max_retry_seconds=0, resend_seconds=600, outage_seconds=0
)
# Leases that have run out the moment they are given.
HASTY = replace(PATIENT, lease_seconds=-1)


def owner(database: Database, name: str = "tests") -> str:
    key, _ = create_key(database, name)
    return key.id


def submission(owner_id: str, **changes: Any) -> Submission:
    usual = Submission(owner_id=owner_id, source="upload:1", settings={"preset": "debug"})
    return replace(usual, **changes)


class Service:
    """All that one worker needs, in one process, around one database and one object store."""

    def __init__(self, database: Database, locations: Locations, scratch: Path) -> None:
        self.jobs = Jobs(database)
        self.queries = JobQueries(database)
        self.locations = locations
        self.scratch = scratch
        self.codec = FakeCodec()
        self.during_preview: Callable[[], None] = lambda: None

    def pipeline(self, **changes: Any) -> Pipeline:
        sources = SourceCache(self.scratch, self.locations, max_bytes=10**6)
        usual = Pipeline(
            jobs=self.jobs.repository,
            queue=self.jobs.queue,
            store=self.locations.own,
            sources=sources,
            locations=self.locations,
            codec=self.codec,
            previews=Previewer(
                jobs=self.jobs.repository,
                store=self.locations.own,
                sources=sources,
                write=self.write_preview,
                should_stop=lambda: False,
            ),
            keep=lambda _: NullLease(),
            worker="one",
        )
        return replace(usual, **changes)

    def write_preview(
        self, stream_path: Path, output: Path, *, should_stop: Callable[[], bool]
    ) -> None:
        if should_stop():
            raise Cancelled("told to stop")
        self.during_preview()
        output.write_bytes(b"preview of " + stream_path.read_bytes()[:8])

    def upload(self, *segment_frames: int) -> str:
        """Store a source; returns its name."""
        upload_id = new_id("upl")
        self.locations.own.put(upload_key(upload_id), io.BytesIO(source_of(*segment_frames)))
        return f"upload:{upload_id}"

    def submit(self, *segment_frames: int, **changes: Any) -> str:
        """Upload and submit; returns the id of the encoding."""
        return self.jobs.submit(**{"source": self.upload(*segment_frames), **changes}).id

    def finish(self, encoding_id: str, **changes: Any) -> Encoding:
        """Work and sweep until nothing is left to do; returns what became of the encoding."""
        pipeline = self.pipeline(**changes)
        while pipeline.drain(self.jobs.queue):
            sweep(self.jobs.repository, self.jobs.queue)
        return self.encoding(encoding_id)

    def encoding(self, encoding_id: str) -> Encoding:
        return self.queries.encoding(self.jobs.owner_id, encoding_id)

    def units(self, encoding_id: str) -> list[Unit]:
        return self.queries.units(self.jobs.owner_id, encoding_id)

    def stream(self, encoding: Encoding) -> bytes:
        assert encoding.stream_key is not None
        return self.locations.own.read(encoding.stream_key)


class Jobs:
    """One owner's encodings in one database, driven step by step."""

    def __init__(self, database: Database, settings: JobSettings = PATIENT) -> None:
        self.database = database
        self.repository = JobRepository(database, settings)
        self.queue = InMemoryQueue()
        self.owner_id = owner(database)

    def submit(self, **changes: Any) -> Encoding:
        return commands.submit(self.database, self.queue, submission(self.owner_id, **changes))

    def lease(self, key: UnitKey, worker: str = "one") -> Lease:
        lease = self.repository.lease(key, worker)
        assert lease is not None
        return lease

    def planned(self, *frames: int, **changes: Any) -> list[UnitKey]:
        """Submit and plan an encoding; returns its segments."""
        encoding = self.submit(**changes)
        lease = self.lease(plan_of(encoding))
        return self.repository.finish_plan(lease, plan={"cuts": []}, segment_frames=frames)


def plan_of(encoding: Encoding) -> UnitKey:
    return UnitKey(encoding_id=encoding.id, kind=UnitKind.PLAN)
