"""``nrv bench speed``: how much sooner a prediction is done than a fit of the same quality."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from encoder_service.cli.options import parse_list, parse_numbers


def speed(
    suite: Annotated[
        str, typer.Option(help="val, standard (in $NRV_DATA), or a folder of clips.")
    ] = "val",
    clips: Annotated[
        str, typer.Option(help="Part of their names, A,B; three of val by default.")
    ] = "",
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of fast.")] = 25,
    epochs: Annotated[
        str, typer.Option(metavar="N,M", help="Lengths of the fit, shortest first.")
    ] = "20,80,320,1280",
    out: Annotated[Path, typer.Option("--out", metavar="DIR")] = Path("results"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Start the table over.")] = False,
) -> None:
    """Seconds that a fit takes to cross what is predicted, in equal bytes; resumes by clip."""
    from encoder_service.cli.extras import require_extra

    require_extra("train")
    from hypernet.evaluation.speed_benchmark import SpeedPlan, run_speed

    plan = SpeedPlan(quality=quality, epochs=tuple(parse_numbers("--epochs", epochs)))
    if clips:
        plan = replace(plan, clips=tuple(parse_list(clips)))
    table = run_speed(
        suite=suite,
        table=out / "speed.tsv",
        plan=plan,
        fresh=fresh,
        on_row=lambda row: typer.echo(
            f"{row.clip} rate {row.learning_rate} {row.epochs} epochs: {row.fit_psnr_db:.2f} of "
            f"{row.predicted_psnr_db:.2f} dB in {row.fit_seconds:.0f} s, "
            f"{row.times_file_to_file:.0f} times as long",
            err=True,
        ),
    )
    typer.echo(table)
