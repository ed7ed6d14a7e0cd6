from __future__ import annotations

import io
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from encoder_service.errors import (
    AccessDenied,
    InvalidConfiguration,
    InvalidKey,
    ObjectMissing,
    StorageFull,
)
from encoder_service.storage.links import LinkSigner
from encoder_service.storage.local import LocalObjectStore


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def links(clock: Clock) -> LinkSigner:
    return LinkSigner("secret", "http://127.0.0.1:8000/", clock=clock)


@pytest.fixture
def store(tmp_path: Path, links: LinkSigner) -> LocalObjectStore:
    return LocalObjectStore(tmp_path / "objects", links)


@pytest.mark.parametrize(
    "key",
    ["../a", "a/../../b", "/etc/passwd", "a//b", "a/", "./a", "a/.", ".incoming/a", "a\0b", "a\nb"],
)
def test_keys_cannot_leave_the_store(store: LocalObjectStore, key: str) -> None:
    for use in (store.read, store.stat, store.delete, store.start_multipart):
        with pytest.raises(InvalidKey):
            use(key)
    with pytest.raises(InvalidKey):
        store.put(key, io.BytesIO(b"x"))


def test_symbolic_links_do_not_lead_out(store: LocalObjectStore, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (store.root / "way-out").symlink_to(tmp_path)
    with pytest.raises(InvalidKey, match="symbolic link"):
        store.read("way-out/secret")


def test_an_object_cannot_lie_below_another(store: LocalObjectStore) -> None:
    store.put("a/b", io.BytesIO(b"x"))
    for key in ("a", "a/b/c"):
        with pytest.raises(InvalidKey, match=r"taken|is an object"):
            store.put(key, io.BytesIO(b"y"))
    with pytest.raises(ObjectMissing):
        store.read("a")


def test_a_failed_put_leaves_the_old_object_and_no_litter(store: LocalObjectStore) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise RuntimeError(f"the client went away {size} bytes early")

    store.put("a", io.BytesIO(b"old"))
    with pytest.raises(RuntimeError):
        store.put("a", Broken())
    assert store.read("a") == b"old"
    assert list((store.root / ".incoming").iterdir()) == []


@pytest.fixture
def little_space() -> Iterator[None]:
    """No file of this process may grow beyond 64 KiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("little_space")
def test_no_space_left(store: LocalObjectStore) -> None:
    with pytest.raises(StorageFull):
        store.put("a", io.BytesIO(bytes(100_000)))
    assert list(store.list()) == []
    assert list((store.root / ".incoming").iterdir()) == []


def test_a_reader_keeps_what_it_opened(store: LocalObjectStore) -> None:
    store.put("a", io.BytesIO(b"old"))
    stream = store.stream("a")
    store.put("a", io.BytesIO(b"new"))
    assert b"".join(stream) == b"old"


def test_uploads_are_bound_to_their_key(store: LocalObjectStore) -> None:
    upload = store.start_multipart("mine")
    for key, upload_id in (("yours", upload), ("mine", "0" * 32), ("mine", "../objects")):
        with pytest.raises(ObjectMissing):
            store.put_part(key, upload_id, 1, io.BytesIO(b"x"))


def test_an_unusable_root_is_said_so(tmp_path: Path, links: LinkSigner) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ObjectMissing, match="file"):
        LocalObjectStore(tmp_path / "file" / "objects", links)


# Links


def parts(link: str) -> tuple[str, dict[str, str]]:
    split = urlsplit(link)
    return unquote(split.path).removeprefix("/v1/objects/"), dict(parse_qsl(split.query))


def test_a_link_is_good_until_it_expires(
    store: LocalObjectStore, links: LinkSigner, clock: Clock
) -> None:
    key, query = parts(store.link_to_get("a b/ü", seconds=60, filename="x.nrv"))
    assert key == "a b/ü"
    assert query["filename"] == "x.nrv"
    links.check("GET", key, query)
    clock.now += 60
    links.check("GET", key, query)
    clock.now += 1
    with pytest.raises(AccessDenied, match="expired"):
        links.check("GET", key, query)


@pytest.mark.parametrize(
    ("method", "key", "change"),
    [
        ("PUT", "a", {}),
        ("GET", "b", {}),
        ("GET", "a", {"expires": "9999999999"}),
        ("GET", "a", {"filename": "other"}),
        ("GET", "a", {"signature": "0" * 64}),
        ("GET", "a", {"signature": "ü"}),
    ],
)
def test_a_changed_link_is_refused(
    store: LocalObjectStore, links: LinkSigner, method: str, key: str, change: dict[str, str]
) -> None:
    _, query = parts(store.link_to_get("a", seconds=60))
    with pytest.raises(AccessDenied, match="signature"):
        links.check(method, key, query | change)


def test_a_link_without_anything_is_refused(links: LinkSigner) -> None:
    with pytest.raises(AccessDenied):
        links.check("GET", "a", {})


def test_a_link_of_another_service_is_refused(store: LocalObjectStore, clock: Clock) -> None:
    key, query = parts(store.link_to_put("a", seconds=60))
    with pytest.raises(AccessDenied):
        LinkSigner("other", "http://127.0.0.1:8000", clock=clock).check("PUT", key, query)


def test_a_link_to_one_part_is_not_a_link_to_another(
    store: LocalObjectStore, links: LinkSigner
) -> None:
    upload = store.start_multipart("a")
    key, query = parts(store.link_to_put_part("a", upload, 1, seconds=60))
    links.check("PUT", key, query)
    with pytest.raises(AccessDenied):
        links.check("PUT", key, query | {"part": "2"})


def test_links_need_a_secret() -> None:
    with pytest.raises(InvalidConfiguration, match="NRV_STORAGE_LINK_SECRET"):
        LinkSigner("", "http://127.0.0.1:8000")


def test_objects_are_durable_before_they_are_visible(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        order.append("sync")
        fsync(descriptor)

    def noted_replace(path: Path, target: Path) -> Path:
        order.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    store.put("a", io.BytesIO(b"x"))
    assert order == ["sync", "rename"]
