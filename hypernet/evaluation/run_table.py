"""A TSV of rows of one commit that grows while a bench runs, and is taken up again."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path
from typing import Any, Generic, TypeVar

from hypernet.errors import InvalidSettings, OutputNotWritable
from hypernet.evaluation import provenance

RowT = TypeVar("RowT")


class RunTable(Generic[RowT]):
    """Rows of one dataclass, which has a field ``commit``; each is on disk when ``append`` returns.

    Args:
        path: created, or taken up where it was left; a half-written last line is dropped.
        row_type: the dataclass.
        fresh: start over.

    Raises:
        InvalidSettings: it holds rows of another commit, or is another kind of table.
        OutputNotWritable: it cannot be written.
    """

    def __init__(self, path: Path, row_type: type[Any], *, fresh: bool = False) -> None:
        self.path = path
        self._columns = [field.name for field in dataclasses.fields(row_type)]
        text = path.read_text(encoding="utf-8") if path.exists() and not fresh else ""
        whole = text[: text.rfind("\n") + 1]
        lines = list(csv.DictReader(io.StringIO(whole), delimiter="\t"))
        if whole and whole.split("\n", 1)[0].split("\t") != self._columns:
            raise InvalidSettings(f"{path} is another kind of table; choose another --out")
        others = {line["commit"] for line in lines} - {provenance.commit()}
        if others:
            raise InvalidSettings(
                f"{path} holds rows of commit {', '.join(sorted(others))} and this is "
                f"{provenance.commit()}; choose another --out, or --fresh to start over"
            )
        self.lines = lines
        self._write(whole or "\t".join(self._columns) + "\n", "w")

    def holds(self, **values: object) -> bool:
        """Whether there is a row with these values."""
        wanted = {name: str(value) for name, value in values.items()}
        return any(wanted.items() <= line.items() for line in self.lines)

    def append(self, row: RowT) -> None:
        """Write one row to disk; raises OutputNotWritable."""
        cells = {name: getattr(row, name) for name in self._columns}
        line = {name: "" if value is None else str(value) for name, value in cells.items()}
        self._write("\t".join(line.values()) + "\n", "a")
        self.lines.append(line)

    def _write(self, text: str, mode: str) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open(mode, encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise OutputNotWritable(f"cannot write {self.path}: {error.strerror}") from error
