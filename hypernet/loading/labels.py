"""A label for every stream: from a CSV file, or from a function of its name."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hypernet.errors import InvalidSettings
from hypernet.loading.catalogue import StreamPlace

NO_LABEL = -1

LabelsFrom = str | Path | Callable[[str], int | str]
"""A CSV file with columns ``stream`` and ``label``, or a function of a stream's path or address."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """Labels as numbers.

    Attributes:
        numbers: of every stream.
        classes: what the numbers stand for; empty if labels were numbers.
    """

    numbers: tuple[int, ...]
    classes: tuple[str, ...] = ()


def find_labels(source: LabelsFrom | None, places: Sequence[StreamPlace]) -> Labels:
    """The label of every stream; without a source, -1.

    In a CSV file, ``stream`` is a file name with or without ``.nrv``, or the end of a path. Labels
    that are no integers are numbered in alphabetical order.

    Raises:
        InvalidSettings: the file cannot be read, or a stream has no label.
    """
    if source is None:
        return Labels(numbers=(NO_LABEL,) * len(places))
    if callable(source):
        values = [source(place.name) for place in places]
    else:
        table = _read_table(Path(source))
        values = [_look_up(table, place.name, Path(source)) for place in places]
    if all(_is_number(value) for value in values):
        return Labels(numbers=tuple(int(value) for value in values))
    classes = tuple(sorted({str(value) for value in values}))
    number_of = {name: number for number, name in enumerate(classes)}
    return Labels(numbers=tuple(number_of[str(value)] for value in values), classes=classes)


def _read_table(path: Path) -> dict[str, str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not {"stream", "label"} <= set(reader.fieldnames or ()):
                raise InvalidSettings(f"{path} needs columns named stream and label")
            return {_stem(row["stream"] or ""): row["label"] or "" for row in reader}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidSettings(f"labels cannot be read from {path}: {error}") from error


def _look_up(table: Mapping[str, str], name: str, path: Path) -> str:
    """The label of the longest end of the stream's path that the table names."""
    parts = PurePosixPath(_stem(name)).parts
    for first in range(len(parts)):
        label = table.get(str(PurePosixPath(*parts[first:])), "")
        if label:
            return label
    raise InvalidSettings(f"{path} has no label for {name}; add a row, or leave the stream out")


def _stem(name: str) -> str:
    return name.strip().removesuffix(".nrv")


def _is_number(value: int | str) -> bool:
    return isinstance(value, int) or value.strip().removeprefix("-").isdecimal()
