"""``nrv bench family``: predicted methods trained with equal computation, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from encoder_service.cli.options import parse_decimals, parse_list, parse_numbers


def family(
    configs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[CONFIG]...", help="Training configurations, see configs/."),
    ] = None,
    models: Annotated[
        str, typer.Option(metavar="A,B", help="Installed predictors to score beside them.")
    ] = "",
    rates: Annotated[
        str, typer.Option(metavar="A,B", help="Learning rates; by default each configuration's.")
    ] = "",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Length of every arm; its own by default.")
    ] = None,
    baseline: Annotated[str, typer.Option(help="What others are compared with.")] = "nerv-enc",
    suite: Annotated[str, typer.Option(help="val, standard, or a folder of clips.")] = "val",
    qualities: Annotated[str, typer.Option(help="1 to 100.")] = "1,25,50,75,100",
    clips: Annotated[str, typer.Option(help="Only clips with one of these in their name.")] = "",
    frames: Annotated[int, typer.Option(min=1, help="First frames of each clip.")] = 64,
    runs: Annotated[Path, typer.Option(metavar="DIR", help="Where arms train.")] = Path("runs"),
    name: Annotated[str, typer.Option(help="Name of the table.")] = "family",
    out: Annotated[Path, typer.Option("--out", metavar="DIR")] = Path("results"),
) -> None:
    """Predicted methods trained with equal computation; resumes runs and table."""
    from encoder_service.cli.extras import require_extra

    require_extra("train")
    from hypernet.evaluation.family_benchmark import (
        FLOOR_MARGIN_DB,
        compare_with,
        make_arms,
        margin_over_floor,
        run_family,
    )

    table = out / f"{name}.tsv"
    rows = run_family(
        make_arms(configs or [], parse_decimals("--rates", rates), parse_list(models), runs, steps),
        suite=suite,
        table=table,
        qualities=parse_numbers("--qualities", qualities),
        clips=parse_list(clips),
        max_frames=frames,
        on_row=lambda row: typer.echo(
            f"{row.clip} {row.arm} {row.learning_rate or 'as shipped'} q{row.quality}: "
            f"{row.psnr_db:.2f} dB at {row.bits_per_pixel:.4f} bpp",
            err=True,
        ),
    )
    for arm, decibels in compare_with(rows, baseline).items():
        typer.echo(f"{arm}: {decibels:+.2f} dB over {baseline} at equal rate")
    margin = margin_over_floor(rows, baseline)
    if not margin >= FLOOR_MARGIN_DB:
        typer.echo(f"void: {baseline} is {margin:+.2f} dB over the mean frame", err=True)
    typer.echo(table)
