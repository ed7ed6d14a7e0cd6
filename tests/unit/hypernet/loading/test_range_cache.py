from __future__ import annotations

import os
from pathlib import Path

import pytest

from hypernet.errors import InvalidSettings, OutputNotWritable
from hypernet.loading.range_cache import RangeCache


def test_what_is_put_is_found_also_by_others(tmp_path: Path) -> None:
    one, other = RangeCache(tmp_path), RangeCache(tmp_path)
    assert one.get("a") is None
    one.put("a", b"data")
    assert other.get("a") == b"data"


def test_the_least_recently_used_go_first_and_the_bound_holds(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path, max_bytes=1000)
    for number in range(60):
        cache.put(str(number), bytes(50))
        path = cache._path(str(number))
        os.utime(path, (number, number))
        if number >= 10:
            assert cache.get("10") is not None  # used again and again
            os.utime(cache._path("10"), (number + 0.5, number + 0.5))
        assert sum(each.stat().st_size for each in tmp_path.iterdir()) <= 1000
    assert cache.get("59") is not None
    assert cache.get("11") is None


def test_what_is_too_large_is_not_kept(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path, max_bytes=100)
    cache.put("a", bytes(90))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputNotWritable, match="cannot make"):
        RangeCache(tmp_path / "file" / "cache")


def test_a_folder_that_vanishes_costs_speed_only(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path / "cache")
    (tmp_path / "cache").rmdir()
    cache.put("a", b"data")
    assert cache.get("a") is None


def test_no_room_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="holds nothing"):
        RangeCache(tmp_path, max_bytes=0)
