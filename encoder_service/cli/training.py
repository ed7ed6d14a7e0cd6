"""``nrv train`` and ``nrv export``: the hypernetwork, from a configuration file to model files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(train)
    app.command()(export)


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


def export(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Of a run of nrv train.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where the model files go.")
    ],
    tune_prior: Annotated[
        int,
        typer.Option(
            min=0, metavar="STEPS", help="First train its prior on what is really sent; 3000 pay."
        ),
    ] = 0,
) -> None:
    """Write predictor, decode file and a card with scores on the validation clips."""
    from encoder_service.cli.extras import require_extra

    require_extra("train")
    from hypernet.training.export import export_model
    from hypernet.training.prior_tuning import PriorTuning

    tuning = PriorTuning(steps=tune_prior) if tune_prior else None
    files = export_model(config, out, qualities=(20, 40, 60, 80), tuning=tuning)
    for path in (files.predictor, files.decode_file, files.card):
        typer.echo(path)
