"""Makes what tests of the service begin with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from encoder_service.api_keys import create_key
from encoder_service.database import Database
from encoder_service.jobs import commands
from encoder_service.jobs.records import Encoding, Lease, Submission, UnitKey
from encoder_service.jobs.repository import JobRepository
from encoder_service.jobs.states import UnitKind
from encoder_service.queue import InMemoryQueue
from encoder_service.settings import JobSettings

# Leases that last as long as the test; nothing waits.
PATIENT = JobSettings(lease_seconds=600, retry_seconds=0, max_retry_seconds=0, resend_seconds=600)
# Leases that have run out the moment they are given.
HASTY = replace(PATIENT, lease_seconds=-1)


def owner(database: Database, name: str = "tests") -> str:
    key, _ = create_key(database, name)
    return key.id


def submission(owner_id: str, **changes: Any) -> Submission:
    usual = Submission(owner_id=owner_id, source="upload:1", settings={"preset": "debug"})
    return replace(usual, **changes)


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
