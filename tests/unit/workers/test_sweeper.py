from __future__ import annotations

import threading
from dataclasses import replace

from encoder_service.database import Database
from encoder_service.jobs.commands import Recovered
from encoder_service.jobs.repository import JobRepository
from encoder_service.settings import DatabaseSettings
from tests.factories import HASTY, PATIENT, Service, plan_of
from workers.sweeper import sweep, sweep_until


def test_a_sweep_brings_lost_work_back(service: Service) -> None:
    encoding = service.jobs.submit()
    service.jobs.queue.receive()
    hasty = JobRepository(service.jobs.database, HASTY)
    assert hasty.lease(plan_of(encoding), "dies") is not None
    assert sweep(hasty, service.jobs.queue) == Recovered(expired=1, sent=1)
    assert service.jobs.queue.receive() == plan_of(encoding)


def test_a_database_that_is_away_is_tried_again_later(service: Service) -> None:
    nowhere = Database(DatabaseSettings(url="postgresql+psycopg://x@/x?host=/nowhere"))
    assert sweep(JobRepository(nowhere, PATIENT), service.jobs.queue) is None


def test_sweeping_goes_on_until_it_is_stopped(service: Service) -> None:
    stop = threading.Event()
    sweeps: list[int] = []

    class Counting(JobRepository):
        def claim_due(self, limit: int) -> list[object]:  # type: ignore[override]
            sweeps.append(limit)
            if len(sweeps) == 3:
                stop.set()
            return []

    jobs = Counting(service.jobs.database, replace(PATIENT, sweep_seconds=0))
    sweep_until(stop, jobs, service.jobs.queue)
    assert len(sweeps) == 3
