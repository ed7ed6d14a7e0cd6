"""``nrv bench``: measurements, ours and the anchors side by side, written to TSV."""

from __future__ import annotations

import typer

app = typer.Typer(help="Measure, ours and the anchors side by side.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure, ours and the anchors side by side."""
