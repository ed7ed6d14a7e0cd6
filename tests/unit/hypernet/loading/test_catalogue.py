from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hypernet.errors import InvalidSettings, UnreadableInput
from hypernet.loading.catalogue import find_streams, split_address


def test_a_folder_at_any_depth_sorted(tmp_path: Path) -> None:
    for name in ("b/two.nrv", "a/one.nrv", "a/note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [place.name for place in find_streams(tmp_path)]
    assert names == [str(tmp_path / "a/one.nrv"), str(tmp_path / "b/two.nrv")]
    assert find_streams(str(tmp_path / "a/one.nrv"))[0].name == names[0]


def test_a_list_keeps_its_order() -> None:
    places = find_streams(["b.nrv", Path("a.nrv"), "s3://films/c.nrv"])
    assert [place.name for place in places] == ["b.nrv", "a.nrv", "s3://films/c.nrv"]
    assert [place.is_remote for place in places] == [False, False, True]


def test_nothing_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="holds no stream"):
        find_streams(tmp_path)
    with pytest.raises(InvalidSettings, match="the list holds no stream"):
        find_streams([])
    with pytest.raises(UnreadableInput, match="no folder"):
        find_streams(tmp_path / "missing")


def test_an_address_is_a_bucket_and_a_key() -> None:
    assert split_address("s3://films/2026/a.nrv") == ("films", "2026/a.nrv")
    assert split_address("s3://films") == ("films", "")
    with pytest.raises(InvalidSettings, match="no bucket"):
        split_address("s3:///a.nrv")


def test_without_boto3_the_extra_is_named() -> None:
    program = """
import sys
sys.modules["boto3"] = None
from hypernet.errors import InvalidSettings
from hypernet.loader import find_streams
try:
    find_streams("s3://films/2026")
except InvalidSettings as error:
    sys.exit(0 if "nrv[s3]" in str(error) else str(error))
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[4])


def test_loading_needs_no_video_library() -> None:
    program = "import sys, hypernet.loader; assert 'av' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[4])
