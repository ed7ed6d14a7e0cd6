"""Writing what a table of measurements says: TSV, Markdown for a README, and the plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path

from hypernet.errors import OutputNotWritable
from hypernet.evaluation.summary import (
    DEFAULT_PSNRS_DB,
    MEAN,
    BdRow,
    EqualPsnrRow,
    bd_rows,
    curves_of,
    equal_psnr_rows,
    rates_at,
    roles_of,
)
from hypernet.evaluation.table import Row, write_tsv


def write_report(
    rows: Sequence[Row], folder: Path, *, name: str, psnrs_db: Sequence[float] = DEFAULT_PSNRS_DB
) -> list[Path]:
    """Write ``NAME.png``, ``NAME-bd-rate.tsv``, ``NAME-equal-psnr.tsv`` and ``NAME.md``.

    Returns:
        Their paths, in this order.

    Raises:
        InvalidSettings: the extra ``bench`` is not installed.
        OutputNotWritable: the folder cannot be written.
    """
    from hypernet.evaluation.plots import plot_rd  # noqa: PLC0415 -- needs an optional extra

    plot, bd, equal, text = (
        folder / f"{name}{end}" for end in (".png", "-bd-rate.tsv", "-equal-psnr.tsv", ".md")
    )
    plot_rd(rows, plot, title=name)
    _write_records(bd, BdRow, bd_rows(rows))
    _write_records(equal, EqualPsnrRow, equal_psnr_rows(rows, psnrs_db))
    try:
        text.write_text(markdown(rows, psnrs_db), encoding="utf-8")
    except OSError as error:
        raise OutputNotWritable(f"cannot write {text}: {error.strerror}") from error
    return [plot, bd, equal, text]


def markdown(rows: Sequence[Row], psnrs_db: Sequence[float] = DEFAULT_PSNRS_DB) -> str:
    """Tables for a README: rate at given PSNRs, BD-rate, and bytes at equal PSNR.

    A cell names the number of clips behind it where that is not all of them.
    """
    clips, roles = len(curves_of(rows)), roles_of(rows)
    psnrs = [f"{psnr_db:g} dB" for psnr_db in psnrs_db]
    parts = [
        f"Bits per pixel at equal PSNR (RGB), mean over the clips in range ({clips} in all):",
        _table(["codec", *psnrs], _rate_lines(rows, roles.all, psnrs_db, clips)),
    ]
    if roles.tests and roles.anchors:
        bd = [row for row in bd_rows(rows) if row.clip == MEAN and row.anchor in roles.anchors]
        equal = equal_psnr_rows(rows, psnrs_db)
        parts += [
            "BD-rate against each anchor (negative: fewer bytes), mean over clips:",
            _table(["codec", *roles.anchors], _bd_lines(bd, roles.tests, clips)),
            "Bytes as a multiple of the anchor's at equal PSNR, geometric mean over clips:",
            _table(["codec", "PSNR", *roles.anchors], _ratio_lines(equal, roles.tests, clips)),
        ]
    return "\n\n".join(parts) + "\n"


def _rate_lines(
    rows: Sequence[Row], codecs: Sequence[str], psnrs_db: Sequence[float], clips: int
) -> list[list[str]]:
    return [
        [codec, *(_cell(rate, "{:.4f}", n, clips) for rate, n in rates_at(rows, codec, psnrs_db))]
        for codec in codecs
    ]


def _bd_lines(bd: Sequence[BdRow], codecs: Sequence[str], clips: int) -> list[list[str]]:
    return [
        [
            codec,
            *(
                _cell(row.bd_rate_percent, "{:+.1f} %", row.rate_clips, clips)
                for row in bd
                if row.codec == codec
            ),
        ]
        for codec in codecs
    ]


def _ratio_lines(
    equal: Sequence[EqualPsnrRow], codecs: Sequence[str], clips: int
) -> list[list[str]]:
    lines = []
    for codec in codecs:
        of_codec = [row for row in equal if row.codec == codec]
        for psnr_db in dict.fromkeys(row.psnr_db for row in of_codec):
            cells = [
                _cell(row.ratio, "{:.2f}x", row.clips, clips)
                for row in of_codec
                if row.psnr_db == psnr_db
            ]
            lines.append([codec, f"{psnr_db:g} dB", *cells])
    return lines


def _cell(value: float | None, form: str, clips: int, all_clips: int) -> str:
    if value is None:
        return "-"
    return form.format(value) + ("" if clips == all_clips else f" ({clips})")


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *lines])


def _write_records(
    path: Path, kind: type[BdRow | EqualPsnrRow], records: Sequence[BdRow | EqualPsnrRow]
) -> None:
    columns = [field.name for field in fields(kind)]
    write_tsv(path, columns, (map(_rounded, astuple(record)) for record in records))


def _rounded(value: object) -> object:
    return f"{value:.5g}" if isinstance(value, float) else value
