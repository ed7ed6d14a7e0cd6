from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from encoder_service.errors import DatabaseUnavailable
from encoder_service.jobs import commands
from encoder_service.jobs.records import Lease, UnitKey
from encoder_service.jobs.repository import JobRepository
from tests.factories import HASTY, PATIENT, Service
from workers.lease import LeaseKeeper, NullLease

QUICK = replace(PATIENT, heartbeat_seconds=0.005)


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        threading.Event().wait(0.005)
    return condition()


@pytest.fixture
def jobs(service: Service) -> JobRepository:
    return JobRepository(service.jobs.database, QUICK)


@pytest.fixture
def segment(service: Service) -> UnitKey:
    return service.jobs.planned(64)[0]


def keeper(jobs: JobRepository, lease: Lease) -> LeaseKeeper:
    return LeaseKeeper(jobs, lease, threading.Event())


def test_heartbeats_report_and_extend(
    service: Service, jobs: JobRepository, segment: UnitKey
) -> None:
    hasty = JobRepository(service.jobs.database, HASTY)
    lease = hasty.lease(segment, "one")
    assert lease is not None
    with keeper(jobs, lease) as kept:
        kept.report(0.5)
        assert eventually(lambda: service.units(segment.encoding_id)[1].progress_frames == 32)
        assert not kept.should_stop()
        assert jobs.expire(limit=9) == []


def test_a_wish_to_cancel_reaches_the_worker(
    service: Service, jobs: JobRepository, segment: UnitKey
) -> None:
    with keeper(jobs, service.jobs.lease(segment)) as kept:
        commands.cancel(service.jobs.database, service.jobs.owner_id, segment.encoding_id)
        assert eventually(kept.should_stop)


def test_losing_the_lease_stops_the_work(
    service: Service, jobs: JobRepository, segment: UnitKey
) -> None:
    lease = service.jobs.lease(segment)
    service.jobs.repository.release(lease, None, pause_seconds=0)
    with keeper(jobs, lease) as kept:
        assert eventually(kept.should_stop)


def test_a_shutdown_stops_the_work_at_once(
    service: Service, jobs: JobRepository, segment: UnitKey
) -> None:
    shutdown = threading.Event()
    with LeaseKeeper(jobs, service.jobs.lease(segment), shutdown) as kept:
        assert not kept.should_stop()
        shutdown.set()
        assert kept.should_stop()


class SilentRepository(JobRepository):
    def heartbeat(self, lease: Lease, *, progress_frames: int = 0) -> bool:
        raise DatabaseUnavailable(f"{lease.unit}: nobody heard of {progress_frames} frames")


def test_an_outage_shorter_than_the_lease_is_survived(service: Service, segment: UnitKey) -> None:
    silent = SilentRepository(service.jobs.database, QUICK)
    beats = threading.Event()
    with keeper(silent, service.jobs.lease(segment)) as kept:
        beats.wait(0.05)
        assert not kept.should_stop()


def test_an_outage_longer_than_the_lease_stops_the_work(service: Service, segment: UnitKey) -> None:
    silent = SilentRepository(service.jobs.database, replace(QUICK, lease_seconds=0.02))
    with keeper(silent, service.jobs.lease(segment)) as kept:
        assert eventually(kept.should_stop)


def test_no_thread_stays_behind(service: Service, jobs: JobRepository, segment: UnitKey) -> None:
    before = threading.active_count()
    with keeper(jobs, service.jobs.lease(segment)):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_a_null_lease_never_stops() -> None:
    with NullLease() as kept:
        kept.report(0.5)
        assert not kept.should_stop()
