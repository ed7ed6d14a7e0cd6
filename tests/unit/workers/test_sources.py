from __future__ import annotations

import os
from pathlib import Path

import pytest

from encoder_service.errors import StorageError
from tests.factories import Service
from workers.sources import SourceCache


def test_old_sources_make_room_for_new_ones(service: Service) -> None:
    encodings = [service.encoding(service.submit(8)) for _ in range(3)]
    cache = SourceCache(service.scratch, service.locations, max_bytes=40)  # one is 18 bytes
    paths = []
    for age, encoding in enumerate(encodings[:2]):
        path = cache.fetch(encoding, etag=cache.stat(encoding).etag)
        os.utime(path, (1000 + age, 1000 + age))
        paths.append(path)
    small = SourceCache(service.scratch, service.locations, max_bytes=30)
    newest = small.fetch(encodings[2], etag=small.stat(encodings[2]).etag)
    assert [path.exists() for path in (*paths, newest)] == [False, True, True]


def test_a_workspace_is_gone_afterwards(service: Service) -> None:
    cache = SourceCache(service.scratch, service.locations, max_bytes=0)
    with cache.workspace() as folder:
        (folder / "x").touch()
    assert not folder.exists()


def test_a_scratch_folder_that_cannot_be_made(service: Service, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = SourceCache(tmp_path / "file" / "scratch", service.locations, max_bytes=0)
    encoding = service.encoding(service.submit(8))
    with pytest.raises(StorageError, match="scratch"):
        cache.fetch(encoding, etag="any")
    with pytest.raises(StorageError, match="scratch"), cache.workspace():
        pass
