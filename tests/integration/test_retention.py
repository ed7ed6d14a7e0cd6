"""What `nrv gc` removes, and what it must never touch; on both databases."""

from __future__ import annotations

import io
import os
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

import pytest
from sqlalchemy import select, update

from encoder_service.database import Database, db_now
from encoder_service.jobs import commands
from encoder_service.jobs.records import UnitKey, new_id
from encoder_service.jobs.states import EncodingStatus, UnitKind
from encoder_service.retention import DAY_SECONDS, Collector
from encoder_service.settings import RetentionSettings, StorageSettings
from encoder_service.storage.base import picture_key, preview_key, segment_key, upload_key
from encoder_service.storage.local import LocalObjectStore
from encoder_service.storage.locations import Locations
from encoder_service.tables import encodings, metadata, uploads
from encoder_service.uploads import Uploads
from hypernet.errors import UnreadableVideo
from tests.factories import Service
from tests.fake_codec import source_of

USUAL = RetentionSettings()


class Kept:
    """A service whose past can be moved away."""

    def __init__(self, service: Service) -> None:
        self.service = service
        assert isinstance(service.locations.own, LocalObjectStore)
        self.store = service.locations.own
        self.uploads = Uploads(service.jobs.database, self.store)

    def submit(self, *segment_frames: int) -> str:
        """Upload, as through the API, and submit; returns the id of the encoding."""
        body = source_of(*segment_frames) + b" " * int.from_bytes(os.urandom(1))
        with TemporaryFile() as file:
            file.write(body)
            file.seek(0)
            upload = self.uploads.store_whole(self.service.jobs.owner_id, file)
        return self.service.jobs.submit(source=upload.source).id

    def age(self, days: float) -> None:
        """Everything that there is happened so much earlier."""
        seconds = days * DAY_SECONDS
        with self.service.jobs.database.writing() as connection:
            moved = update(encodings).where(encodings.c.finished_at.is_not(None))
            connection.execute(moved.values(finished_at=db_now(-seconds)))
            connection.execute(update(uploads).values(created_at=db_now(-seconds)))
        for path in self.store.root.rglob("*"):
            if path.is_file():
                os.utime(path, (time.time() - seconds,) * 2)

    def collect(self, settings: RetentionSettings = USUAL, *, dry_run: bool = False) -> set[str]:
        collector = Collector(self.service.jobs.database, self.store, settings, dry_run=dry_run)
        return {f"{each.kind} {each.name}" for each in collector.run()}

    def objects(self) -> set[str]:
        return {info.key for info in self.store.list()}

    def rows(self) -> int:
        """In all tables together."""
        with self.service.jobs.database.reading() as connection:
            return sum(
                len(connection.execute(select(table)).all()) for table in metadata.sorted_tables
            )


@pytest.fixture
def kept(database: Database, tmp_path: Path) -> Kept:
    storage = StorageSettings(url=f"folder:{tmp_path}/objects")
    locations = Locations(storage, base_url="http://127.0.0.1:1")
    return Kept(Service(database, locations, tmp_path / "scratch"))


def test_a_dry_run_says_the_same_and_removes_nothing(kept: Kept) -> None:
    kept.service.finish(kept.submit(8, 8))
    kept.age(days=2)
    before = kept.objects(), kept.rows()
    said = kept.collect(dry_run=True)
    assert len(said) == 2
    assert (kept.objects(), kept.rows()) == before
    assert kept.collect() == said


def test_segments_go_and_the_stream_stays(kept: Kept) -> None:
    encoding = kept.service.finish(kept.submit(8, 8))
    kept.age(days=2)
    assert kept.collect() == {f"object {segment_key(encoding.id, index, 1)}" for index in range(2)}
    assert kept.service.stream(encoding)
    assert kept.collect() == set()


def test_a_fresh_result_loses_nothing(kept: Kept) -> None:
    kept.service.finish(kept.submit(8))
    assert kept.collect() == set()


def test_an_encoding_at_work_loses_nothing_however_old(kept: Kept) -> None:
    encoding_id = kept.submit(8, 8)
    pipeline = kept.service.pipeline()
    pipeline.run(UnitKey(encoding_id=encoding_id, kind=UnitKind.PLAN))
    pipeline.run(UnitKey(encoding_id=encoding_id, kind=UnitKind.SEGMENT, index=0))
    kept.store.put(segment_key(encoding_id, 1, 7), io.BytesIO(b"of a lost attempt"))
    kept.age(days=1000)
    assert kept.collect() == set()
    assert kept.service.finish(encoding_id).status is EncodingStatus.SUCCEEDED


def test_a_failed_encoding_can_be_tried_again_until_its_time_is_over(kept: Kept) -> None:
    kept.service.codec.errors[1] = [UnreadableVideo("broken")]
    encoding = kept.service.finish(kept.submit(8, 8))
    assert encoding.status is EncodingStatus.FAILED
    kept.age(days=29)
    assert kept.collect() == set()
    jobs = kept.service.jobs
    commands.retry(jobs.database, jobs.queue, jobs.owner_id, encoding.id)
    assert kept.service.finish(encoding.id).status is EncodingStatus.SUCCEEDED
    assert kept.service.codec.encoded[0] == 1


def test_a_failed_encoding_goes_with_everything_it_left(kept: Kept) -> None:
    kept.service.codec.errors[1] = [UnreadableVideo("broken")]
    encoding = kept.service.finish(kept.submit(8, 8))
    kept.age(days=31)
    assert f"encoding {encoding.id}" in kept.collect()
    kept.collect()
    kept.collect()
    assert kept.objects() == set()
    assert kept.rows() == 1  # the API key


def test_pictures_go_since_they_can_be_made_again(kept: Kept) -> None:
    encoding = kept.service.finish(kept.submit(8))
    assert encoding.stream_key is not None
    picture, preview = picture_key(encoding.stream_key, "0.png"), preview_key(encoding.stream_key)
    kept.store.put(picture, io.BytesIO(b"picture"))
    kept.store.put(preview, io.BytesIO(b"preview"))
    assert kept.collect() == set()
    kept.age(days=8)
    assert f"object {picture}" in kept.collect()
    assert preview in kept.objects()


def test_streams_go_only_when_that_was_asked_for(kept: Kept) -> None:
    encoding = kept.service.finish(kept.submit(8))
    kept.age(days=4000)
    kept.collect()
    assert kept.service.stream(encoding)
    assert f"encoding {encoding.id}" in kept.collect(replace(USUAL, stream_days=365))
    kept.age(days=4000)
    kept.collect()
    assert kept.objects() == set()


def test_an_upload_goes_a_run_after_its_row(kept: Kept) -> None:
    encoding = kept.service.finish(kept.submit(8))
    upload_id = encoding.source.removeprefix("upload:")
    kept.age(days=8)
    assert f"upload {upload_id}" in kept.collect()
    assert upload_key(upload_id) in kept.objects()
    assert kept.collect() == {f"object {upload_key(upload_id)}"}


def test_a_submission_between_two_runs_keeps_its_source(kept: Kept) -> None:
    encoding = kept.service.finish(kept.submit(8))
    kept.age(days=8)
    kept.collect()
    again = kept.service.jobs.submit(source=encoding.source, idempotency_key="again").id
    assert kept.collect() == set()
    assert kept.service.finish(again).status is EncodingStatus.SUCCEEDED


def test_what_no_row_knows_goes_after_a_day(kept: Kept) -> None:
    stray = {f"uploads/{new_id('upl')}", f"encodings/{new_id('enc')}/segments/00000-1"}
    for key in stray:
        kept.store.put(key, io.BytesIO(b"stray"))
    others = {"decode-files/0123456789abcdef.decode.safetensors", "films/mine.mp4"}
    for key in others:
        kept.store.put(key, io.BytesIO(b"not ours to remove"))
    assert kept.collect() == set()
    kept.age(days=2)
    assert kept.collect() == {f"object {key}" for key in stray}
    assert kept.objects() == others


def test_an_upload_that_was_never_completed_is_aborted(kept: Kept) -> None:
    owner_id = kept.service.jobs.owner_id
    upload = kept.uploads.begin(owner_id, size_bytes=10, part_bytes=5)
    assert upload.multipart_id is not None
    kept.store.put_part(upload_key(upload.id), upload.multipart_id, 1, io.BytesIO(b"12345"))
    kept.age(days=8)
    assert kept.collect() == {f"upload {upload.id}"}
    assert not (kept.store.root / ".incoming" / upload.multipart_id).exists()


def test_zero_days_keep_for_ever(kept: Kept) -> None:
    kept.service.finish(kept.submit(8))
    kept.store.put("uploads/stray", io.BytesIO(b"stray"))
    kept.age(days=4000)
    never = RetentionSettings(
        source_days=0, segment_days=0, failed_days=0, stream_days=0, orphan_days=0
    )
    assert kept.collect(never) == set()


def test_what_a_killed_writer_left_goes(kept: Kept) -> None:
    left = kept.store.root / ".incoming" / "0123"
    left.write_bytes(b"half an object")
    assert kept.collect() == set()  # somebody may be at it
    kept.age(days=2)
    assert kept.collect(dry_run=True) == {"object .incoming/0123"}
    assert left.exists()
    assert kept.collect() == {"object .incoming/0123"}
    assert not left.exists()


def test_parts_go_when_nobody_waits_for_them(kept: Kept) -> None:
    owner_id = kept.service.jobs.owner_id
    awaited = kept.uploads.begin(owner_id, size_bytes=10, part_bytes=10)
    forgotten = kept.store.start_multipart("uploads/forgotten")
    kept.age(days=2)
    assert kept.collect() == {"object uploads/forgotten"}
    assert [each.upload_id for each in kept.store.unfinished()] == [awaited.multipart_id]
    assert forgotten != awaited.multipart_id
    assert kept.collect(replace(USUAL, orphan_days=0)) == set()
