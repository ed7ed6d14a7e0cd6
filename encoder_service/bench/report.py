"""The table of `nrv bench service`: one number a line, with where it comes from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import encoder_service
from hypernet.evaluation import provenance
from hypernet.evaluation.table import write_tsv

DIGITS = 4  # significant


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One measured number."""

    measurement: str
    name: str
    value: float
    unit: str
    wanted: str = ""  # what it should be, such as "< 150"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row(Figure):
    """A figure as it stands in the table."""

    commit: str
    cpu: str
    load_average: float | None


COLUMNS = tuple(each.name for each in dataclasses.fields(Row))


class Report:
    """A TSV file; what a measurement gave before is replaced when it is taken again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = _read(path)
        self._commit = provenance.commit(Path(encoder_service.__file__).parent)
        self._cpu = provenance.processor()

    def replace(self, figures: Sequence[Figure], load_average: float | None) -> None:
        """Write the figures of one measurement to disk."""
        taken = {figure.measurement for figure in figures}
        kept = [row for row in self._rows if row[0] not in taken]
        self._rows = kept + [self._line(figure, load_average) for figure in figures]
        write_tsv(self.path, COLUMNS, self._rows)

    def _line(self, figure: Figure, load_average: float | None) -> list[str]:
        row = Row(
            **dataclasses.asdict(figure),
            commit=self._commit,
            cpu=self._cpu,
            load_average=None if load_average is None else round(load_average, 2),
        )
        cells = dataclasses.asdict(row) | {"value": f"{figure.value:.{DIGITS}g}"}
        return ["" if cells[name] is None else str(cells[name]) for name in COLUMNS]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all (0 to 1) does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _read(path: Path) -> list[list[str]]:
    if not path.exists():
        return []
    header, *lines = [line.split("\t") for line in path.read_text().splitlines()] or [[]]
    return lines if tuple(header) == COLUMNS else []
