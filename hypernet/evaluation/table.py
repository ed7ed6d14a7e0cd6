"""The table of measurements: one TSV row per clip, codec and quality; resumable, one commit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hypernet.errors import InvalidSettings, OutputNotWritable


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One measured operating point; an empty cell is None, ``inf`` an identical video.

    ``device`` is what encoded; tables that were written before there was this column have None.
    """

    clip: str
    codec: str
    quality: int
    bytes: int
    bits_per_pixel: float
    psnr_db: float
    psnr_y_db: float
    ms_ssim: float | None
    encode_seconds: float
    decode_frames_per_second: float
    frames: int
    width: int
    height: int
    commit: str
    cpu: str
    threads: int
    load_average: float | None
    device: str | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """What makes a row the same measurement."""
        return self.clip, self.codec, self.quality


COLUMNS = tuple(field.name for field in dataclasses.fields(Row))
_HEADER = "\t".join(COLUMNS) + "\n"
_OLD_HEADER = "\t".join(COLUMNS[: COLUMNS.index("device")]) + "\n"
_INTEGERS = frozenset({"quality", "bytes", "frames", "width", "height", "threads"})
_TEXTS = frozenset({"clip", "codec", "commit", "cpu", "device"})
_DECIMALS = {
    "bits_per_pixel": 6,
    "psnr_db": 3,
    "psnr_y_db": 3,
    "ms_ssim": 5,
    "encode_seconds": 3,
    "decode_frames_per_second": 2,
    "load_average": 2,
}


class Table:
    """A TSV file of rows of one commit; every row is on disk when ``append`` returns.

    A table without the column ``device`` is of an older commit, so no row is ever added to one.
    """

    def __init__(self, path: Path, commit: str, *, fresh: bool = False) -> None:
        """Open or create the file; a half-written last line is dropped.

        Raises:
            InvalidSettings: the file holds rows of another commit, or is another kind of file.
            OutputNotWritable: it cannot be created or written.
        """
        self.path, self.commit = path, commit
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _repair(path, fresh=fresh)
        except OSError as error:
            raise OutputNotWritable(f"cannot write {path}: {error.strerror}") from error
        self.rows = read_rows(path)
        others = sorted({row.commit for row in self.rows} - {commit})
        if others:
            raise InvalidSettings(
                f"{path} holds rows of commit {', '.join(others)} and this is {commit}; rows of "
                "different code are not mixed: choose another --out, or --fresh to start over"
            )

    def append(self, row: Row) -> None:
        """Write one row to disk; raises OutputNotWritable."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line(row))
        except OSError as error:
            raise OutputNotWritable(f"cannot write {self.path}: {error.strerror}") from error
        self.rows.append(row)


def read_rows(path: Path) -> list[Row]:
    """Every complete row of a table, also of one without the column ``device``.

    Raises:
        InvalidSettings: missing, or not such a table; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{path} cannot be read as a table: {error}") from error
    if not lines or lines[0] not in {_HEADER, _OLD_HEADER}:
        raise InvalidSettings(
            f"{path} is not a table of this version (its columns differ); choose another --out, "
            "or --fresh to start over"
        )
    columns = lines[0].split()
    return [_row(path, columns, number, line) for number, line in enumerate(lines[1:], 2)]


def write_tsv(path: Path, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a small derived table; None is an empty cell."""
    lines = [columns, *rows]
    text = "".join("\t".join("" if v is None else str(v) for v in line) + "\n" for line in lines)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputNotWritable(f"cannot write {path}: {error.strerror}") from error


def _repair(path: Path, *, fresh: bool) -> None:
    """Make sure of a whole header, and drop a half-written last line of a table."""
    data = b"" if fresh or not path.exists() else path.read_bytes()
    header = _HEADER.encode()
    if header.startswith(data):
        path.write_bytes(header)
    elif data.startswith(header) and not data.endswith(b"\n"):
        with path.open("rb+") as file:
            file.truncate(data.rfind(b"\n") + 1)


def _line(row: Row) -> str:
    return "\t".join(_cell(name, getattr(row, name)) for name in COLUMNS) + "\n"


def _cell(name: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.{_DECIMALS[name]}f}" if math.isfinite(value) else str(value)
    return str(value).translate({ord("\t"): " ", ord("\n"): " "})


def _row(path: Path, columns: list[str], number: int, line: str) -> Row:
    cells = line.rstrip("\n").split("\t")
    try:
        values = dict(zip(columns, cells, strict=True))
        return Row(**{name: _value(name, cell) for name, cell in values.items()})  # type: ignore[arg-type]
    except ValueError as error:
        raise InvalidSettings(f"{path} line {number} is damaged: {error}") from error


def _value(name: str, cell: str) -> str | int | float | None:
    if name in _TEXTS:
        return cell
    if name in _INTEGERS:
        return int(cell)
    return float(cell) if cell else None
