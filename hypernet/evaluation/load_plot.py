"""Clips a second by method, one panel per size, as PNG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hypernet.errors import InvalidSettings, OutputNotWritable

if TYPE_CHECKING:
    from hypernet.evaluation.load_benchmark import LoadRow

try:
    from matplotlib.figure import Figure
except ImportError as error:
    raise InvalidSettings(
        "plots need an extra that is not installed: pip install 'nrv[bench]'"
    ) from error

_OURS, _OTHERS = "#d62728", "#3182bd"
_PANEL_INCHES = (6.4, 0.34)  # width, and height of a bar


def plot_load(rows: Sequence[LoadRow], path: Path) -> None:
    """Draw every row that was measured, with its size and quality beside the bar.

    Raises:
        InvalidSettings: nothing was measured.
        OutputNotWritable: the file cannot be written.
    """
    measured = [row for row in rows if row.random_clips_per_second]
    if not measured:
        raise InvalidSettings("nothing was measured: there is nothing to plot")
    sizes = list(dict.fromkeys((row.width, row.height) for row in measured))
    bars = max(sum((row.width, row.height) == size for row in measured) for size in sizes)
    figure = Figure(
        figsize=(_PANEL_INCHES[0] * len(sizes), 1.4 + bars * _PANEL_INCHES[1]),
        layout="constrained",
    )
    for number, size in enumerate(sizes):
        axes = figure.add_subplot(1, len(sizes), number + 1)
        shown = [row for row in measured if (row.width, row.height) == size]
        values = [row.random_clips_per_second or 0.0 for row in shown]
        colours = [_OURS if row.method.startswith("nrv-") else _OTHERS for row in shown]
        drawn = axes.barh(range(len(shown)), values, color=colours)
        axes.bar_label(drawn, [_beside(row) for row in shown], fontsize=7, padding=3)
        axes.set_yticks(range(len(shown)), [_name(row) for row in shown], fontsize=7)
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 2, max(values) * 30)  # room for what stands beside the bars
        axes.set_title(f"{size[0]}x{size[1]}, {shown[0].device}", fontsize=9)
        axes.set_xlabel("random 8-frame clips a second", fontsize=8)
        axes.grid(visible=True, axis="x", which="both", linewidth=0.4, alpha=0.4)
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise OutputNotWritable(f"cannot write {path}: {error.strerror}") from error


def _name(row: LoadRow) -> str:
    return f"{row.method}, {row.workers} workers" if row.workers else row.method


def _beside(row: LoadRow) -> str:
    return (
        f"{row.random_clips_per_second:.4g}; {(row.stored_bytes or 0) / 1e6:.3g} MB, "
        f"{_quality(row)}"
    )


def _quality(row: LoadRow) -> str:
    return "exact" if row.psnr_db == math.inf else f"{row.psnr_db:.1f} dB"
