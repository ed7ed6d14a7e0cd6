from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from encoder_service.decode_files import DamagedDecodeFile
from encoder_service.errors import ObjectMissing
from encoder_service.storage.base import decode_file_key
from hypernet.decoders import decode_file
from hypernet.decoders.decode_file import find_decode_file
from hypernet.errors import MissingDecodeFile
from hypernet.predictor.files import find_predictor
from hypernet.presets import DEFAULT_MODEL
from tests.factories import Service
from workers.decode_files import DecodeFiles


@pytest.fixture
def digest() -> str:
    return find_predictor(DEFAULT_MODEL).decode_sha256


@pytest.fixture
def shipped(digest: str) -> Path:
    return find_decode_file(digest).path


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of fetched files of a machine whose program ships none."""
    monkeypatch.setattr(decode_file, "SHIPPED", tmp_path / "empty")
    monkeypatch.setenv("NRV_MODELS", str(tmp_path / "models"))
    find_decode_file.cache_clear()
    yield tmp_path / "models"
    find_decode_file.cache_clear()


def test_what_is_missing_here_is_fetched(
    service: Service, digest: str, shipped: Path, models: Path
) -> None:
    store = service.locations.own
    with shipped.open("rb") as body:
        store.put(decode_file_key(shipped.name), body)
    DecodeFiles(store, models).share(digest)
    assert find_decode_file(digest).path == models / shipped.name
    assert (models / shipped.name).read_bytes() == shipped.read_bytes()


def test_what_is_missing_there_is_published(service: Service, digest: str, shipped: Path) -> None:
    store = service.locations.own
    files = DecodeFiles(store, shipped.parent)
    files.share(digest)
    key = decode_file_key(shipped.name)
    assert store.read(key) == shipped.read_bytes()
    store.delete(key)
    files.share(digest)  # has been looked at
    with pytest.raises(ObjectMissing):
        store.stat(key)


def test_what_is_nowhere_is_named(service: Service, digest: str, models: Path) -> None:
    with pytest.raises(MissingDecodeFile, match=digest):
        DecodeFiles(service.locations.own, models).share(digest)


def test_what_was_damaged_is_not_used(
    service: Service, digest: str, shipped: Path, models: Path
) -> None:
    service.locations.own.put(decode_file_key(shipped.name), io.BytesIO(b"damage"))
    with pytest.raises(DamagedDecodeFile):
        DecodeFiles(service.locations.own, models).share(digest)
    assert not models.exists()


def test_most_streams_need_none(service: Service, tmp_path: Path) -> None:
    DecodeFiles(service.locations.own, tmp_path).share(None)
    assert list(tmp_path.glob("models/*")) == []
