from __future__ import annotations

from pathlib import Path

import pytest

from hypernet.errors import InvalidSettings
from hypernet.loading.catalogue import StreamPlace
from hypernet.loading.labels import find_labels

PLACES = [StreamPlace(name=f"/data/{name}.nrv") for name in ("a/run", "b/run", "b/walk")]


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return path


def test_without_a_source_there_are_none() -> None:
    assert find_labels(None, PLACES).numbers == (-1, -1, -1)


def test_texts_are_numbered_in_alphabetical_order() -> None:
    labels = find_labels(lambda name: Path(name).parent.name, PLACES)
    assert labels.numbers == (0, 1, 1)
    assert labels.classes == ("a", "b")


def test_numbers_stay_as_they_are(tmp_path: Path) -> None:
    path = table(tmp_path, "stream,label\nrun,7\nwalk.nrv,-2\n")
    labels = find_labels(path, PLACES)
    assert labels.numbers == (7, 7, -2)
    assert labels.classes == ()


def test_the_longest_end_of_a_path_counts(tmp_path: Path) -> None:
    path = table(tmp_path, "label,stream\nfast,b/run\nslow,run.nrv\nslow,b/walk.nrv\n")
    assert find_labels(path, PLACES).numbers == (1, 0, 1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name,class\nrun,1\n", "columns named stream and label"),
        ("", "columns named"),
        ("stream,label\nrun,1\n", r"no label for /data/b/walk\.nrv"),
        ("stream,label\nrun,1\nwalk,\n", "no label"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(InvalidSettings, match=reason):
        find_labels(table(tmp_path, text), PLACES)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="cannot be read"):
        find_labels(tmp_path / "missing.csv", PLACES)
