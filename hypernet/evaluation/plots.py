"""Rate-distortion plots: one panel per clip and one for the mean, as PNG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from hypernet.errors import InvalidSettings, OutputNotWritable
from hypernet.evaluation.bd_rate import RatePoint
from hypernet.evaluation.summary import Roles, curves_of, roles_of
from hypernet.evaluation.table import Row

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter
except ImportError as error:
    raise InvalidSettings(
        "plots need an extra that is not installed: pip install 'nrv[bench]'"
    ) from error

_COLUMNS = 5
_PANEL_INCHES = (3.3, 2.8)
_TEST_COLOURS = (
    *("#d62728", "#ff7f0e", "#e377c2", "#8c564b"),
    *("#bcbd22", "#17becf", "#111111", "#7f3c8d"),
)
_ANCHOR_COLOURS = ("#9ecae1", "#3182bd", "#31a354", "#756bb1")
_FLOOR_COLOURS = ("#bbbbbb", "#999999", "#666666")
_LEGEND_INCHES = 0.8
_MARGIN = 1.15  # of rate, beside the curves that set the range
_WIDE_RANGE = 300  # of rate, from which on only powers of ten fit as labels


def plot_rd(rows: Sequence[Row], path: Path, *, title: str = "") -> None:
    """Draw every codec of a table: PSNR (RGB, dB) over bits per pixel (log scale).

    Codecs under test are solid with markers, anchors thin, floors dotted; axes follow the first
    two. The mean panel averages rate and PSNR over clips at equal quality, where every clip has it.

    Raises:
        InvalidSettings: there are no rows.
        OutputNotWritable: the file cannot be written.
    """
    if not rows:
        raise InvalidSettings("there are no measurements to plot")
    curves, roles = curves_of(rows), roles_of(rows)
    panels = {"mean over clips": mean_curves(rows), **curves} if len(curves) > 1 else curves
    columns = min(_COLUMNS, len(panels))
    lines = math.ceil(len(panels) / columns)
    size = (columns * _PANEL_INCHES[0], lines * _PANEL_INCHES[1] + _LEGEND_INCHES)
    figure = Figure(figsize=size, layout="constrained")
    for number, (name, of_clip) in enumerate(panels.items()):
        axes = figure.add_subplot(lines, columns, number + 1)
        _draw_panel(axes, name, of_clip, roles)
        if number >= len(panels) - columns:
            axes.set_xlabel("bits per pixel", fontsize=8)
        if number % columns == 0:
            axes.set_ylabel("PSNR (RGB), dB", fontsize=8)
    figure.suptitle(title, fontsize=11)
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=min(len(roles.all), 8 if columns > 3 else 3),
        frameon=False,
        fontsize=9,
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
    for codec in roles.all:
        points = _drawable(of_clip, [codec])
        rates, psnrs = [p.rate for p in points], [p.psnr_db for p in points]
        axes.plot(rates, psnrs, label=codec, **_style(codec, roles))
    axes.set_xscale("log")
    shown = _drawable(of_clip, roles.tests + roles.anchors)
    if shown:
        lowest, highest = shown[0].rate / _MARGIN, shown[-1].rate * _MARGIN
        axes.set_xlim(lowest, highest)
        axes.set_ylim(min(p.psnr_db for p in shown) - 1, max(p.psnr_db for p in shown) + 1)
        steps = (1.0, 2.0, 5.0) if highest / lowest < _WIDE_RANGE else (1.0,)
        axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(Path(name).stem.replace("_", " "), fontsize=9)
    axes.grid(visible=True, which="both", linewidth=0.4, alpha=0.4)
    axes.tick_params(labelsize=7, which="both")


def _drawable(of_clip: dict[str, list[RatePoint]], codecs: Sequence[str]) -> list[RatePoint]:
    """Finite points of these codecs by rising rate."""
    points = [point for codec in codecs for point in of_clip.get(codec, [])]
    return sorted((p for p in points if math.isfinite(p.psnr_db)), key=lambda p: p.rate)


def _style(codec: str, roles: Roles) -> dict[str, Any]:
    if codec in roles.tests:
        colour = _TEST_COLOURS[roles.tests.index(codec) % len(_TEST_COLOURS)]
        return {"color": colour, "linewidth": 2.0, "marker": "o", "markersize": 4, "zorder": 3}
    if codec in roles.anchors:
        colour = _ANCHOR_COLOURS[roles.anchors.index(codec) % len(_ANCHOR_COLOURS)]
        return {"color": colour, "linewidth": 1.2, "marker": ".", "markersize": 4}
    colour = _FLOOR_COLOURS[roles.floors.index(codec) % len(_FLOOR_COLOURS)]
    return {"color": colour, "linewidth": 1.0, "linestyle": ":", "marker": "x", "markersize": 4}
