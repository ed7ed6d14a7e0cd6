from __future__ import annotations

from pathlib import Path

import pytest

from encoder_service.errors import AccessDenied, InvalidConfiguration, InvalidRequest
from encoder_service.settings import StorageSettings
from encoder_service.storage.locations import Locations
from encoder_service.storage.s3 import S3ObjectStore

BASE_URL = "http://127.0.0.1:8000"


def settings(tmp_path: Path) -> StorageSettings:
    return StorageSettings(url=f"folder:{tmp_path}/objects", source_buckets=("films",))


def test_an_upload_lies_in_our_store(tmp_path: Path) -> None:
    locations = Locations(settings(tmp_path), base_url=BASE_URL)
    assert locations.source("upload:upl_1") == (locations.own, "uploads/upl_1")


def test_an_allowed_bucket(tmp_path: Path) -> None:
    store, key = Locations(settings(tmp_path), base_url=BASE_URL).source("s3://films/a//b.mp4")
    assert isinstance(store, S3ObjectStore)
    assert (store.bucket, key) == ("films", "a//b.mp4")


@pytest.mark.parametrize(
    "source",
    [
        "s3://other/a.mp4",
        "/etc/passwd",
        "file:///etc/passwd",
        "http://169.254.169.254/latest",
        "upload:../../a",
        "s3:/films/a",
        "C:\\films\\a.mp4",
    ],
)
def test_everything_else_is_out_of_reach(tmp_path: Path, source: str) -> None:
    with pytest.raises(AccessDenied):
        Locations(settings(tmp_path), base_url=BASE_URL).source(source)


@pytest.mark.parametrize("source", ["", "upload:", "clip.mp4", "s3:films"])
def test_nonsense_is_a_bad_request(tmp_path: Path, source: str) -> None:
    with pytest.raises(InvalidRequest):
        Locations(settings(tmp_path), base_url=BASE_URL).source(source)


def test_our_own_store_may_be_a_bucket() -> None:
    own = Locations(StorageSettings(url="s3://nrv/data/"), base_url=BASE_URL).own
    assert isinstance(own, S3ObjectStore)
    assert (own.bucket, own.prefix) == ("nrv", "data/")


@pytest.mark.parametrize("url", ["", "s3://", "http://host/bucket", "/folder"])
def test_a_store_must_be_named_properly(url: str) -> None:
    with pytest.raises(InvalidConfiguration, match="NRV_STORAGE_URL"):
        Locations(StorageSettings(url=url), base_url=BASE_URL)
