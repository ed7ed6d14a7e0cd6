from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest

from encoder_service.decode_files import SUFFIX, DamagedDecodeFile, fetch, publish, shipped
from encoder_service.errors import InvalidRequest, ObjectMissing
from encoder_service.storage.base import decode_file_key
from encoder_service.storage.links import LinkSigner
from encoder_service.storage.local import LocalObjectStore

DATA = b"weights that many streams share"
DIGEST = hashlib.sha256(DATA).hexdigest()
NAME = f"{DIGEST[:16]}{SUFFIX}"


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path / "objects", LinkSigner("secret", "http://127.0.0.1:1"))


@pytest.fixture
def decode_file(tmp_path: Path) -> Path:
    path = tmp_path / NAME
    path.write_bytes(DATA)
    return path


def test_what_was_published_is_fetched_by_its_hash(
    store: LocalObjectStore, decode_file: Path, tmp_path: Path
) -> None:
    assert publish(store, iter([decode_file])) == [NAME]
    fetched = fetch(store, DIGEST, tmp_path / "here")
    assert fetched.read_bytes() == DATA
    assert fetched.name == NAME


def test_publishing_again_changes_nothing(store: LocalObjectStore, decode_file: Path) -> None:
    publish(store, iter([decode_file]))
    assert publish(store, iter([decode_file])) == []


def test_what_is_here_is_not_fetched(store: LocalObjectStore, decode_file: Path) -> None:
    assert fetch(store, DIGEST[:16].upper(), decode_file.parent) == decode_file


def test_what_was_never_published(store: LocalObjectStore, tmp_path: Path) -> None:
    with pytest.raises(ObjectMissing):
        fetch(store, "0" * 64, tmp_path)


@pytest.mark.parametrize("digest", ["", "abc", "../../etc/passwd", "z" * 64])
def test_what_is_no_hash(store: LocalObjectStore, tmp_path: Path, digest: str) -> None:
    with pytest.raises(InvalidRequest):
        fetch(store, digest, tmp_path)


def test_damage_is_noticed_on_both_ways(
    store: LocalObjectStore, decode_file: Path, tmp_path: Path
) -> None:
    store.put(decode_file_key(NAME), io.BytesIO(b"something else"))
    with pytest.raises(DamagedDecodeFile):
        fetch(store, DIGEST, tmp_path / "here")
    assert not (tmp_path / "here").exists()
    decode_file.write_bytes(b"something else")
    with pytest.raises(DamagedDecodeFile):
        publish(store, iter([decode_file]))


def test_everything_shipped_is_called_by_its_hash(store: LocalObjectStore) -> None:
    names = [entry.name for entry in shipped()]
    assert sorted(publish(store, shipped())) == sorted(names)
