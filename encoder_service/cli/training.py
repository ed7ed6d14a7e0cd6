"""``nrv train``: the hypernetwork, from a configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(train)


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="TOML file, see configs/.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the last checkpoint.")
    ] = False,
    stop_after: Annotated[
        int | None, typer.Option(metavar="STEPS", help="Leave after this step, with a checkpoint.")
    ] = None,
) -> None:
    """Train the predictor; a log, curves and samples go beside its checkpoints."""
    from encoder_service.cli.extras import require_extra

    require_extra("train")
    from hypernet.training.trainer import train as run

    result = run(config, resume=resume, stop_after=stop_after)
    for name, reason in result.skipped:
        typer.echo(f"skipped {name}: {reason}", err=True)
    typer.echo(
        f"{result.steps} steps, {result.data_wait_share:.1%} of the time waiting for data; "
        f"checkpoint {result.checkpoint}"
    )
