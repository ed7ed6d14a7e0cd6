"""Rate-distortion plots: one panel per clip and one for the mean, as PNG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from hypernet.errors import InvalidSettings, OutputNotWritable
from hypernet.evaluation.bd_rate import RatePoint
from hypernet.evaluation.summary import Roles, curves_of, roles_of
from hypernet.evaluation.table import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 4
_PANEL_INCHES = (3.6, 3.0)
_TEST_COLOURS = ("#d62728", "#ff7f0e", "#9467bd", "#e377c2", "#8c564b", "#bcbd22")
_ANCHOR_COLOURS = ("#9ecae1", "#4292c6", "#2ca25f", "#08519c")
_FLOOR_COLOURS = ("#bbbbbb", "#999999", "#666666")
_MARGIN = 1.15  # of rate, beside the curves that set the range


def plot_rd(rows: Sequence[Row], path: Path, *, title: str = "") -> None:
    """Draw every codec of a table: PSNR (RGB, dB) over bits per pixel (log scale).

    Codecs under test are solid with markers, anchors thin, floors dotted; axes follow the first
    two. The mean panel averages rate and PSNR over clips at equal quality, where every clip has it.

    Raises:
        InvalidSettings: no rows, or the extra ``bench`` is not installed.
        OutputNotWritable: the file cannot be written.
    """
    if not rows:
        raise InvalidSettings("there are no measurements to plot")
    figure_class, canvas_class = _matplotlib()
    curves, roles = curves_of(rows), roles_of(rows)
    panels = {"mean over clips": mean_curves(rows), **curves} if len(curves) > 1 else curves
    columns = min(_COLUMNS, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = figure_class(
        figsize=(columns * _PANEL_INCHES[0], lines * _PANEL_INCHES[1] + 0.9), layout="constrained"
    )
    canvas_class(figure)
    for number, (name, of_clip) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(lines, columns, number)
        _draw_panel(axes, _short(name), of_clip, roles)
    figure.supxlabel("bits per pixel", fontsize=10)
    figure.supylabel("PSNR (RGB), dB", fontsize=10)
    figure.suptitle(title, fontsize=11)
    handles = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=5, frameon=False
    )
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise OutputNotWritable(f"cannot write {path}: {error.strerror}") from error


def mean_curves(rows: Sequence[Row]) -> dict[str, list[RatePoint]]:
    """Mean rate and PSNR over clips, by codec, at each quality that every clip was measured at."""
    clips = {row.clip for row in rows}
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.codec, row.quality), []).append(row)
    curves: dict[str, list[RatePoint]] = {}
    for (codec, _), group in groups.items():
        if len(group) == len(clips):
            point = RatePoint(
                rate=fmean(row.bits_per_pixel for row in group),
                psnr_db=fmean(row.psnr_db for row in group),
            )
            curves.setdefault(codec, []).append(point)
    return curves


def _draw_panel(axes: Axes, name: str, of_clip: dict[str, list[RatePoint]], roles: Roles) -> None:
    for codec in (*roles.floors, *roles.anchors, *roles.tests):
        points = sorted(of_clip.get(codec, []), key=lambda point: point.rate)
        finite = [point for point in points if math.isfinite(point.psnr_db)]
        rates, psnrs = [p.rate for p in finite], [p.psnr_db for p in finite]
        axes.plot(rates, psnrs, label=codec, **_style(codec, roles))
    axes.set_xscale("log")
    shown = [p for codec in roles.tests + roles.anchors for p in of_clip.get(codec, [])]
    if shown:
        axes.set_xlim(min(p.rate for p in shown) / _MARGIN, max(p.rate for p in shown) * _MARGIN)
        finite_db = [p.psnr_db for p in shown if math.isfinite(p.psnr_db)]
        axes.set_ylim(min(finite_db, default=0) - 1, max(finite_db, default=100) + 1)
    axes.set_title(name, fontsize=9)
    axes.grid(visible=True, which="both", linewidth=0.4, alpha=0.4)
    axes.tick_params(labelsize=7, which="both")


def _style(codec: str, roles: Roles) -> dict[str, Any]:
    if codec in roles.tests:
        colour = _TEST_COLOURS[roles.tests.index(codec) % len(_TEST_COLOURS)]
        return {"color": colour, "linewidth": 2.0, "marker": "o", "markersize": 4, "zorder": 3}
    if codec in roles.anchors:
        colour = _ANCHOR_COLOURS[roles.anchors.index(codec) % len(_ANCHOR_COLOURS)]
        return {"color": colour, "linewidth": 1.2, "marker": ".", "markersize": 4}
    colour = _FLOOR_COLOURS[roles.floors.index(codec) % len(_FLOOR_COLOURS)]
    return {"color": colour, "linewidth": 1.0, "linestyle": ":", "marker": "x", "markersize": 4}


def _short(name: str) -> str:
    return Path(name).stem.replace("_", " ")


def _matplotlib() -> tuple[Any, Any]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 -- optional
        from matplotlib.figure import Figure  # noqa: PLC0415 -- optional
    except ImportError as error:
        raise InvalidSettings(
            "plots need an extra that is not installed: pip install 'nrv[bench]'"
        ) from error
    return Figure, FigureCanvasAgg
