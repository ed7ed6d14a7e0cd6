"""Batches in the database, step by step; the bucket is a folder."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from encoder_service.database import Database
from encoder_service.errors import (
    AccessDenied,
    LeaseLost,
    QueueUnavailable,
    StorageDenied,
    StorageUnavailable,
)
from encoder_service.jobs import commands
from encoder_service.jobs.listings import ListingRepository
from encoder_service.jobs.queries import Filter
from encoder_service.jobs.records import (
    Batch,
    BatchSubmission,
    Encoding,
    Failure,
    Message,
    UnitKey,
)
from encoder_service.jobs.states import EncodingStatus, ListingStatus, UnitKind, Verdict
from encoder_service.settings import JobSettings, StorageSettings
from encoder_service.storage.base import ObjectInfo
from encoder_service.storage.links import LinkSigner
from encoder_service.storage.local import LocalObjectStore
from encoder_service.storage.locations import Locations
from tests.factories import HASTY, PATIENT, Service
from tests.fake_codec import source_of
from workers import listing as listing_module
from workers.listing import Lister

PAGE = 4


class Bucket(LocalObjectStore):
    """Notes from where it was listed; fails on request after so many objects."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, LinkSigner("secret", "http://127.0.0.1:1"))
        self.listed_after: list[str] = []
        self.failures: list[tuple[int, BaseException]] = []

    def add(self, *keys: str, frames: int = 8) -> None:
        for key in keys:
            self.put(key, io.BytesIO(source_of(frames)))

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        self.listed_after.append(after)
        for number, info in enumerate(super().list(prefix, after=after)):
            if self.failures and number == self.failures[0][0]:
                raise self.failures.pop(0)[1]
            yield info


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_module, "PAGE", PAGE)


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path / "films")


@pytest.fixture
def service(database: Database, bucket: Bucket, tmp_path: Path) -> Service:
    settings = StorageSettings(
        url=f"folder:{tmp_path}/objects", source_buckets=("films", "streams")
    )
    locations = Locations(settings, base_url="http://127.0.0.1:1")
    locations._buckets |= {"films": bucket, "streams": Bucket(tmp_path / "streams")}
    return Service(database, locations, tmp_path / "scratch")


def lister(service: Service, settings: JobSettings = PATIENT) -> Lister:
    return Lister(
        listings=ListingRepository(service.jobs.database, settings),
        queue=service.jobs.queue,
        locations=service.locations,
        worker="one",
        shutdown=threading.Event(),
    )


def submit(service: Service, **wanted: Any) -> Batch:
    usual = BatchSubmission(
        owner_id=service.jobs.owner_id, source="s3://films/2026/", settings={"preset": "debug"}
    )
    return commands.submit_batch(
        service.jobs.database, service.jobs.queue, replace(usual, **wanted)
    )


def work(service: Service, listing: Lister | None = None) -> None:
    """Do what messages about listings say."""
    while (batch_id := service.jobs.queue.receive_listing()) is not None:
        (listing or lister(service)).run(batch_id)


def found(service: Service, batch: Batch) -> list[Encoding]:
    """The encodings of a batch in the order of their sources."""
    page = service.queries.encodings(service.jobs.owner_id, Filter(batch_id=batch.id), limit=1000)
    return sorted(page.items, key=lambda each: each.source)


def seen(service: Service, batch: Batch) -> Batch:
    return service.queries.batch(service.jobs.owner_id, batch.id)


def names(count: int) -> list[str]:
    return [f"2026/{number:02}.mp4" for number in range(count)]


# What is found


def test_every_object_below_the_prefix_becomes_an_encoding(
    service: Service, bucket: Bucket
) -> None:
    bucket.add(*names(10), "2025/old.mp4", "2026/sub/a.mp4")
    batch = submit(service, labels=("films",), priority=3)
    work(service)
    made = found(service, batch)
    assert [each.source for each in made] == [
        f"s3://films/{name}" for name in (*names(10), "2026/sub/a.mp4")
    ]
    assert {(each.priority, each.labels, each.destination) for each in made} == {
        (3, ("films",), None)
    }
    after = seen(service, batch)
    assert (after.listing, after.num_objects) == (ListingStatus.DONE, 11)
    assert len(service.jobs.queue) == 11
    assert service.queries.count_batch(batch.id)["queued"] == 11


@pytest.mark.parametrize(
    ("source", "include", "expected"),
    [
        ("s3://films", None, ["a.mov", "b/c.mp4", "b/cd.mp4"]),
        ("s3://films/", "*.mp4", ["b/c.mp4", "b/cd.mp4"]),
        ("s3://films/b/c", None, ["b/c.mp4", "b/cd.mp4"]),
        ("s3://films/b/", "c.mp4", ["b/c.mp4"]),
        ("s3://films/b/c", "c?.mp4", ["b/cd.mp4"]),
        ("s3://films/nothing/", None, []),
    ],
)
def test_prefixes_and_patterns(
    service: Service, bucket: Bucket, source: str, include: str | None, expected: list[str]
) -> None:
    bucket.add("a.mov", "b/c.mp4", "b/cd.mp4", "b/c.mp4.nrv")  # a stream is no source
    batch = submit(service, source=source, include=include)
    work(service)
    assert [each.source for each in found(service, batch)] == [f"s3://films/{e}" for e in expected]
    assert seen(service, batch).listing is ListingStatus.DONE


def test_copies_of_the_streams_go_where_they_are_wanted(service: Service, bucket: Bucket) -> None:
    bucket.add("2026/a.mp4", "2026/sub/a.mp4", "2026/a.mov")
    batch = submit(service, source="s3://films/20", out="s3://streams/x/")
    work(service)
    made = found(service, batch)
    assert [each.destination for each in made] == [
        "s3://streams/x/2026/a.mov.nrv",
        "s3://streams/x/2026/a.mp4.nrv",
        "s3://streams/x/2026/sub/a.mp4.nrv",
    ]
    service.finish(made[0].id)
    streams = service.locations.bucket("streams")
    assert [each.key for each in streams.list()] == [
        "x/2026/a.mov.nrv",
        "x/2026/a.mp4.nrv",
        "x/2026/sub/a.mp4.nrv",
    ]
    done = service.encoding(made[0].id)
    assert streams.read("x/2026/a.mov.nrv") == service.stream(done)


def test_a_destination_that_refuses_fails_the_encoding_with_its_reason(
    service: Service, bucket: Bucket
) -> None:
    class Full(Bucket):
        def put(self, key: str, body: Any, *, if_absent: bool = False) -> None:
            raise StorageDenied(f"{key!r}: Access Denied, {body}, {if_absent}")

    service.locations._buckets["streams"] = Full(bucket.root)
    bucket.add("2026/a.mp4")
    batch = submit(service, out="s3://streams")
    work(service)
    (made,) = found(service, batch)
    ended = service.finish(made.id)
    assert (ended.status, ended.error_code) == (EncodingStatus.FAILED, "storage.denied")


# Once, and again


def test_the_same_batch_is_the_same_and_submits_each_version_once(
    service: Service, bucket: Bucket
) -> None:
    bucket.add(*names(6))
    batch = submit(service)
    work(service)
    first = {each.id for each in found(service, batch)}
    bucket.add("2026/new.mp4")
    bucket.add("2026/00.mp4", frames=9)  # another version
    again = submit(service)
    assert (again.id, again.listing) == (batch.id, ListingStatus.QUEUED)
    work(service)
    made = found(service, batch)
    assert len(made) == 8
    assert first < {each.id for each in made}
    assert seen(service, batch).num_objects == 7


def test_another_wish_or_another_owner_is_another_batch(service: Service) -> None:
    from tests.factories import owner

    same = submit(service)
    others = [
        submit(service, include="*.mp4"),
        submit(service, settings={"preset": "nerv-s"}),
        submit(service, owner_id=owner(service.jobs.database, "other")),
    ]
    assert submit(service).id == same.id
    assert len({same.id, *(each.id for each in others)}) == 4


def test_a_batch_that_is_being_listed_is_left_at_it(service: Service, bucket: Bucket) -> None:
    bucket.add(*names(2))
    batch = submit(service)
    listings = ListingRepository(service.jobs.database, PATIENT)
    lease = listings.lease(batch.id, "one")
    assert lease is not None
    assert submit(service).attempt == 1
    assert seen(service, batch).listing is ListingStatus.LEASED
    assert listings.lease(batch.id, "two") is None


# When it does not work out


class Killed(BaseException):
    """Ends a worker the way SIGKILL does."""


def test_a_killed_worker_is_followed_by_one_that_goes_on_at_the_cursor(
    service: Service, bucket: Bucket
) -> None:
    bucket.add(*names(11))
    batch = submit(service)
    bucket.failures = [(2 * PAGE + 1, Killed())]
    with pytest.raises(Killed):
        work(service, lister(service, HASTY))
    assert len(found(service, batch)) == 2 * PAGE
    recovered = commands.recover(service.jobs.repository, service.jobs.queue)
    assert (recovered.expired, recovered.sent) == (1, 1)
    work(service)
    assert bucket.listed_after == ["", names(11)[2 * PAGE - 1]]
    sources = [each.source for each in found(service, batch)]
    assert sources == [f"s3://films/{name}" for name in names(11)]


def test_a_worker_that_comes_back_from_the_dead_stores_nothing(
    service: Service, bucket: Bucket
) -> None:
    bucket.add(*names(3))
    batch = submit(service)
    zombie = ListingRepository(service.jobs.database, HASTY)
    lease = zombie.lease(batch.id, "zombie")
    assert lease is not None
    assert len(zombie.expire(limit=9)) == 1
    objects = [*bucket.list("2026/")]
    for write in (
        lambda: zombie.submit_page(lease, objects, cursor="z"),
        lambda: zombie.finish(lease),
        lambda: zombie.fail(lease, Failure(code="x", message="y")),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert found(service, batch) == []
    assert seen(service, batch).cursor is None


def test_a_store_that_is_away_costs_no_attempt(service: Service, bucket: Bucket) -> None:
    bucket.add(*names(6))
    batch = submit(service)
    bucket.failures = [(PAGE + 1, StorageUnavailable("slow down"))] * 1
    work(service)
    between = seen(service, batch)
    assert (between.listing, between.errors) == (ListingStatus.QUEUED, 0)
    commands.recover(service.jobs.repository, service.jobs.queue)
    work(service)
    assert len(found(service, batch)) == 6


def test_a_listing_that_is_refused_fails_at_once_and_can_be_asked_for_again(
    service: Service, bucket: Bucket
) -> None:
    bucket.add(*names(2))
    bucket.failures = [(0, StorageDenied("Access Denied"))]
    batch = submit(service)
    work(service)
    failed = seen(service, batch)
    assert (failed.listing, failed.error_code) == (ListingStatus.FAILED, "storage.denied")
    submit(service)
    work(service)
    done = seen(service, batch)
    assert (done.listing, done.error_code) == (ListingStatus.DONE, None)
    assert len(found(service, batch)) == 2


def test_errors_of_ours_are_counted(service: Service, bucket: Bucket) -> None:
    bucket.add(*names(2))
    bucket.failures = [(0, ZeroDivisionError("ours"))] * PATIENT.max_errors
    batch = submit(service)
    for _ in range(PATIENT.max_errors):
        work(service)
        commands.recover(service.jobs.repository, service.jobs.queue)
    failed = seen(service, batch)
    assert (failed.listing, failed.error_code) == (ListingStatus.FAILED, "internal")


def test_lost_workers_are_counted(service: Service) -> None:
    batch = submit(service)
    hasty = ListingRepository(service.jobs.database, HASTY)
    for _ in range(HASTY.max_lost_leases):
        assert hasty.lease(batch.id, "dies") is not None
        assert len(hasty.expire(limit=9)) == 1
    assert seen(service, batch).error_code == "lease.lost"
    assert hasty.lease(batch.id, "one") is None


def test_failing_again_and_again_at_one_place_is_what_counts(
    service: Service, bucket: Bucket
) -> None:
    bucket.add(*names(30))
    batch = submit(service)
    errors = 2 * PATIENT.max_errors
    bucket.failures = [(PAGE, ZeroDivisionError("ours"))] * errors
    for _ in range(errors + 1):
        work(service)
        commands.recover(service.jobs.repository, service.jobs.queue)
    assert seen(service, batch).listing is ListingStatus.DONE
    assert len(found(service, batch)) == 30


def test_a_worker_that_is_told_to_stop_gives_the_listing_back(
    service: Service, bucket: Bucket
) -> None:
    bucket.add(*names(9))
    batch = submit(service)
    stopping = lister(service)
    stopping.shutdown.set()
    work(service, stopping)
    assert (seen(service, batch).listing, len(found(service, batch))) == (
        ListingStatus.QUEUED,
        PAGE,
    )
    commands.recover(service.jobs.repository, service.jobs.queue)
    work(service)
    assert len(found(service, batch)) == 9


def test_a_bucket_that_is_no_longer_allowed(service: Service) -> None:
    batch = submit(service, source="s3://secret/")
    work(service)
    assert seen(service, batch).error_code == "access.denied"
    with pytest.raises(AccessDenied):
        service.locations.prefix("s3://secret/")


def test_a_broken_broker_loses_nothing(service: Service, bucket: Bucket) -> None:
    class Broken:
        def send(self, message: object) -> None:
            raise QueueUnavailable(f"down: {message}")

        def send_listing(self, batch_id: str, *, priority: int) -> None:
            raise QueueUnavailable(f"down: {batch_id}, {priority}")

        def depths(self) -> NoReturn:
            raise QueueUnavailable("down")

    bucket.add(*names(5))
    usual = BatchSubmission(owner_id=service.jobs.owner_id, source="s3://films/", settings={})
    batch = commands.submit_batch(service.jobs.database, Broken(), usual)
    replace(lister(service), queue=Broken()).run(batch.id)
    assert len(found(service, batch)) == 5
    jobs = service.pipeline().jobs
    forgetful = type(jobs)(service.jobs.database, replace(PATIENT, resend_seconds=-1))
    assert commands.recover(forgetful, service.jobs.queue).sent == 5


def test_a_listing_whose_message_was_lost_is_sent_again(service: Service) -> None:
    batch = submit(service)
    assert service.jobs.queue.receive_listing() == batch.id
    listings = ListingRepository(service.jobs.database, PATIENT)
    assert listings.claim_due(limit=9) == []  # just sent
    forgetful = ListingRepository(service.jobs.database, replace(PATIENT, resend_seconds=-1))
    assert [each.id for each in forgetful.claim_due(limit=9)] == [batch.id]


def test_messages_that_come_twice_or_late_do_nothing(service: Service, bucket: Bucket) -> None:
    bucket.add(*names(3))
    batch = submit(service)
    work(service)
    lister(service).run(batch.id)
    lister(service).run("bat_unknown")
    assert seen(service, batch).attempt == 1


def test_errors_that_count_end_in_a_verdict(service: Service) -> None:
    listings = ListingRepository(service.jobs.database, PATIENT)
    lease = listings.lease(submit(service).id, "one")
    assert lease is not None
    hopeless = Failure(code="storage.missing", message="no such bucket", can_help=False)
    assert listings.fail(lease, hopeless) is Verdict.GIVE_UP


def test_a_cancelled_batch_finds_no_more(service: Service, bucket: Bucket) -> None:
    bucket.add(*names(5))
    batch = submit(service)
    database, owner_id = service.jobs.database, service.jobs.owner_id

    class Cancelled(ListingRepository):
        """The batch is cancelled after its first page."""

        def submit_page(self, *page: Any, **cursor: Any) -> list[Message]:
            messages = super().submit_page(*page, **cursor)
            commands.cancel_batch(database, owner_id, batch.id)
            return messages

    work(service, replace(lister(service), listings=Cancelled(database, PATIENT)))
    assert [each.status for each in found(service, batch)] == [EncodingStatus.CANCELLED] * PAGE
    ended = service.queries.batch(owner_id, batch.id)
    assert (ended.listing, ended.error_code) == (ListingStatus.FAILED, "batch.cancelled")

    again = submit(service)  # and continued
    assert (again.id, again.error_code) == (batch.id, None)
    work(service)
    assert len(found(service, batch)) == 5


def test_cancelling_a_batch_spares_what_has_ended(service: Service, bucket: Bucket) -> None:
    bucket.add(*names(2))
    batch = submit(service)
    work(service)
    first, second = found(service, batch)
    for kind in UnitKind:  # of one segment
        service.pipeline().run(UnitKey(encoding_id=first.id, kind=kind))
    done = service.encoding(first.id)
    assert done.status is EncodingStatus.SUCCEEDED
    commands.cancel_batch(service.jobs.database, service.jobs.owner_id, batch.id)
    assert service.encoding(first.id) == done
    assert service.encoding(second.id).status is EncodingStatus.CANCELLED
    ended = service.queries.batch(service.jobs.owner_id, batch.id)
    assert (ended.listing, ended.error_code) == (ListingStatus.DONE, None)
