"""One contract, every store: a folder, and a real S3 server."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from encoder_service.errors import (
    InvalidKey,
    ObjectExists,
    ObjectMissing,
    StorageDenied,
    StorageError,
    StorageUnavailable,
)
from encoder_service.settings import StorageSettings
from encoder_service.storage.base import ObjectStore, download
from encoder_service.storage.links import LinkSigner
from encoder_service.storage.local import LocalObjectStore
from encoder_service.storage.s3 import S3ObjectStore
from tests.http import ask
from tests.servers.process import free_port
from tests.servers.swift import SwiftServer

PART = 2**20  # the smallest part that the test server takes
prefixes = itertools.count()


def s3_settings(swift: SwiftServer) -> StorageSettings:
    return StorageSettings(
        endpoint=swift.endpoint,
        region=swift.region,
        access_key=swift.access_key,
        secret_key=swift.secret_key,
    )


@pytest.fixture
def s3(swift: SwiftServer, bucket: str) -> S3ObjectStore:
    return S3ObjectStore(s3_settings(swift), bucket, f"tests/{next(prefixes)}")


@pytest.fixture
def folder(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path / "objects", LinkSigner("secret", "http://127.0.0.1:1"))


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest) -> Iterator[ObjectStore]:
    store: ObjectStore = request.getfixturevalue(request.param)
    yield store
    for each in [*store.list()]:
        store.delete(each.key)


def put(store: ObjectStore, key: str, data: bytes, *, if_absent: bool = False) -> None:
    store.put(key, io.BytesIO(data), if_absent=if_absent)


def test_what_is_put_can_be_read(store: ObjectStore) -> None:
    put(store, "a/b.nrv", b"content")
    assert store.read("a/b.nrv") == b"content"
    info = store.stat("a/b.nrv")
    assert (info.key, info.size) == ("a/b.nrv", 7)


def test_putting_again_replaces(store: ObjectStore) -> None:
    put(store, "a", b"old content")
    before = store.stat("a")
    put(store, "a", b"new")
    assert store.read("a") == b"new"
    assert store.stat("a").etag != before.etag


def test_an_empty_object(store: ObjectStore) -> None:
    put(store, "empty", b"")
    assert store.read("empty") == b""
    assert store.stat("empty").size == 0


def test_putting_starts_where_the_body_stands(store: ObjectStore) -> None:
    body = io.BytesIO(b"headbody")
    body.seek(4)
    store.put("a", body)
    assert store.read("a") == b"body"


def test_putting_only_if_absent(store: ObjectStore) -> None:
    put(store, "a", b"first", if_absent=True)
    with pytest.raises(ObjectExists):
        put(store, "a", b"second", if_absent=True)
    assert store.read("a") == b"first"


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 4), (3, None), (3, 2), (9, 5), (10, 1), (50, None), (4, 0)]
)
def test_ranges_are_slices(store: ObjectStore, offset: int, length: int | None) -> None:
    data = b"0123456789"
    put(store, "a", data)
    stop = None if length is None else offset + length
    assert store.read("a", offset=offset, length=length) == data[offset:stop]
    assert b"".join(store.stream("a", offset=offset, length=length)) == data[offset:stop]


def test_large_objects_come_in_chunks(store: ObjectStore, tmp_path: Path) -> None:
    data = bytes(range(256)) * (12 * 1024)
    put(store, "large", data)
    chunks = list(store.stream("large"))
    assert len(chunks) > 1
    assert b"".join(chunks) == data
    download(store, "large", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data


def test_missing_objects(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(ObjectMissing):
        store.read("nothing")
    with pytest.raises(ObjectMissing):
        store.stream("nothing")
    with pytest.raises(ObjectMissing):
        store.stat("nothing/here")
    store.delete("nothing")
    (target := tmp_path / "folder").mkdir()
    with pytest.raises(ObjectMissing):
        download(store, "nothing", target / "copy")
    assert list(target.iterdir()) == []


def test_deleting(store: ObjectStore) -> None:
    put(store, "a", b"x")
    store.delete("a")
    with pytest.raises(ObjectMissing):
        store.stat("a")


def test_listing_is_in_order_of_keys(store: ObjectStore) -> None:
    keys = ["a", "a-b", "a.b/c", "b/1", "b/10", "b/2", "b0", "c/d/e/f"]
    for key in reversed(keys):
        put(store, key, key.encode())
    assert [each.key for each in store.list()] == keys
    assert [each.key for each in store.list("b/")] == ["b/1", "b/10", "b/2"]
    assert [each.key for each in store.list("b")] == ["b/1", "b/10", "b/2", "b0"]
    assert [each.key for each in store.list("a")] == ["a", "a-b", "a.b/c"]
    assert [each.key for each in store.list(after="b/1")] == ["b/10", "b/2", "b0", "c/d/e/f"]
    assert [each.key for each in store.list("b/", after="b/10")] == ["b/2"]
    assert [each.size for each in store.list("c")] == [7]
    assert list(store.list("d")) == []


@pytest.mark.parametrize("key", ["with space", "ünï/cödé", "plus+and%20", "q?a=b&c#d", "~'()*!"])
def test_keys_may_hold_odd_characters(store: ObjectStore, key: str) -> None:
    put(store, key, b"x")
    assert store.read(key) == b"x"
    assert [each.key for each in store.list()] == [key]


@pytest.mark.parametrize("key", ["", "x" * 1025])
def test_impossible_keys_are_refused(store: ObjectStore, key: str) -> None:
    with pytest.raises(InvalidKey):
        put(store, key, b"x")
    with pytest.raises(InvalidKey):
        store.read(key)


def test_uploading_in_parts(store: ObjectStore) -> None:
    data = [b"a" * PART, b"b" * PART, b"the end"]
    upload = store.start_multipart("big")
    parts = [store.put_part("big", upload, n, io.BytesIO(data[n - 1])) for n in (3, 1, 2)]
    assert [(part.number, part.size) for part in store.list_parts("big", upload)] == [
        (1, PART),
        (2, PART),
        (3, 7),
    ]
    with pytest.raises(ObjectMissing):
        store.stat("big")
    assert list(store.list()) == []
    store.complete_multipart("big", upload, sorted(parts, key=lambda part: part.number))
    assert store.read("big") == b"".join(data)


def test_a_part_may_be_sent_again(store: ObjectStore) -> None:
    upload = store.start_multipart("big")
    store.put_part("big", upload, 1, io.BytesIO(b"wrong"))
    part = store.put_part("big", upload, 1, io.BytesIO(b"right"))
    store.complete_multipart("big", upload, [part])
    assert store.read("big") == b"right"


def test_a_part_that_is_not_there_cannot_be_joined(store: ObjectStore) -> None:
    upload = store.start_multipart("big")
    stale = store.put_part("big", upload, 1, io.BytesIO(b"one"))
    store.put_part("big", upload, 1, io.BytesIO(b"replaced"))
    with pytest.raises(StorageError):
        store.complete_multipart("big", upload, [stale])


def test_an_aborted_upload_is_gone(store: ObjectStore) -> None:
    upload = store.start_multipart("big")
    store.put_part("big", upload, 1, io.BytesIO(b"x"))
    store.abort_multipart("big", upload)
    store.abort_multipart("big", upload)
    with pytest.raises(ObjectMissing):
        store.list_parts("big", upload)


# Only S3


def test_links_work_without_credentials(s3: S3ObjectStore) -> None:
    assert ask("PUT", s3.link_to_put("a", seconds=60), b"by link").status == 200
    link = s3.link_to_get("a", seconds=60, filename="clip.nrv")
    answer = ask("GET", link)
    assert answer.body == b"by link"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="clip.nrv"'


def test_links_to_parts(s3: S3ObjectStore) -> None:
    upload = s3.start_multipart("a")
    assert ask("PUT", s3.link_to_put_part("a", upload, 1, seconds=60), b"part").status == 200
    s3.complete_multipart("a", upload, s3.list_parts("a", upload))
    assert s3.read("a") == b"part"


def test_a_changed_or_expired_link_is_refused(s3: S3ObjectStore) -> None:
    put(s3, "a", b"x")
    put(s3, "b", b"y")
    link = s3.link_to_get("a", seconds=60)
    assert ask("GET", link).status == 200
    assert ask("GET", link.replace("/a?", "/b?")).status == 403
    assert ask("GET", s3.link_to_get("a", seconds=-10)).status in (400, 403)


def test_wrong_credentials(swift: SwiftServer, bucket: str) -> None:
    wrong = replace(s3_settings(swift), secret_key="wrong")  # noqa: S106
    with pytest.raises(StorageDenied):
        put(S3ObjectStore(wrong, bucket), "a", b"x")


def test_a_bucket_that_does_not_exist(swift: SwiftServer) -> None:
    store = S3ObjectStore(s3_settings(swift), "no-such-bucket")
    with pytest.raises(ObjectMissing):
        put(store, "a", b"x")
    with pytest.raises(ObjectMissing):
        list(store.list())


def test_a_server_that_is_not_there() -> None:
    nowhere = StorageSettings(
        endpoint=f"http://127.0.0.1:{free_port()}",
        access_key="a",
        secret_key="b",  # noqa: S106
    )
    with pytest.raises(StorageUnavailable) as caught:
        S3ObjectStore(nowhere, "bucket").read("a")
    assert caught.value.retryable


def test_prefixes_keep_apart(swift: SwiftServer, bucket: str) -> None:
    one = S3ObjectStore(s3_settings(swift), bucket, "apart/one")
    two = S3ObjectStore(s3_settings(swift), bucket, "apart/two/")
    put(one, "a", b"1")
    assert [each.key for each in one.list()] == ["a"]
    assert list(two.list()) == []
    one.delete("a")


def test_what_was_begun_and_not_finished_is_found(store: ObjectStore) -> None:
    assert [*store.unfinished()] == []
    upload_id = store.start_multipart("films/a")
    store.put_part("films/a", upload_id, 1, io.BytesIO(b"x" * PART))
    store.put("films/b", io.BytesIO(b"whole"))
    (begun,) = store.unfinished()
    assert (begun.name, begun.upload_id) == ("films/a", upload_id)
    assert abs((begun.begun_at - store.stat("films/b").modified_at).total_seconds()) < 60
    for _ in range(2):
        store.discard(begun)
    assert [*store.unfinished()] == []
    with pytest.raises(ObjectMissing):
        store.list_parts("films/a", upload_id)
    assert [each.key for each in store.list()] == ["films/b"]
