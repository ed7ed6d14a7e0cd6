"""``nrv bench service``: submissions and reads per second, overhead, and what workers add."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

# Those that need workers first: submissions stay in the queue.
MEASUREMENTS = ("overhead", "workers", "submit", "read")


def service(
    only: Annotated[
        str, typer.Option(metavar="A,B", help=f"Some of {', '.join(MEASUREMENTS)}.")
    ] = ",".join(MEASUREMENTS),
    rate: Annotated[float, typer.Option(min=1, help="Submissions per second.")] = 150.0,
    seconds: Annotated[float, typer.Option(min=1, help="How long to submit, and to read.")] = 30.0,
    rows: Annotated[
        int, typer.Option(min=10_000, help="Encodings in the database that is read.")
    ] = 100_000,
    processes: Annotated[int, typer.Option(min=1, help="Of the API.")] = 2,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="For the table.")] = Path(
        "results"
    ),
) -> None:
    """Measure the service on an empty PostgreSQL database and a broker, named by NRV_* settings."""
    from encoder_service.bench.encoding import measure_overhead, measure_scaling
    from encoder_service.bench.reading import measure_reading
    from encoder_service.bench.report import Report
    from encoder_service.bench.service import configured, running_api
    from encoder_service.bench.submitting import measure_submitting
    from hypernet.evaluation.provenance import load_average

    wanted = _wanted(only)
    report = Report(out / "service.tsv")
    settings = configured(os.environ)
    with (
        tempfile.TemporaryDirectory(prefix="nrv-bench-") as folder,
        running_api(settings, Path(folder), processes=processes) as running,
    ):
        for name in wanted:
            load = load_average()
            match name:
                case "submit":
                    figures = measure_submitting(running, per_second=rate, seconds=seconds)
                case "read":
                    figures, plans = measure_reading(
                        running, number=rows, per_second=rate / 5, seconds=seconds
                    )
                    (out / "service-plans.txt").write_text(plans)
                case "overhead":
                    figures = measure_overhead(running)
                case _:
                    figures = measure_scaling(running)
            report.replace(figures, load)
            for figure in figures:
                limit = f" (wanted: {figure.wanted})" if figure.wanted else ""
                typer.echo(
                    f"{name}: {figure.name}: {figure.value:.4g} {figure.unit}{limit}", err=True
                )
    typer.echo(report.path)


def _wanted(only: str) -> list[str]:
    from encoder_service.errors import InvalidRequest

    wanted = [name for name in MEASUREMENTS if name in only.split(",")]
    unknown = set(only.split(",")) - set(MEASUREMENTS)
    if unknown:
        raise InvalidRequest(f"--only: there is no {', '.join(sorted(unknown))}")
    return wanted
