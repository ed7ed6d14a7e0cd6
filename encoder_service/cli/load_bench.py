"""``nrv bench load``: what a training loop gets from streams, H.264, JPEG and raw frames."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from encoder_service.cli.options import parse_list, parse_numbers, parse_size
from hypernet.errors import InvalidSettings

if TYPE_CHECKING:
    from hypernet.evaluation.load_benchmark import LoadPlan, LoadRow
    from hypernet.evaluation.load_soak import SoakRow


def load(
    suite: Annotated[
        str, typer.Option(help="val, standard (in $NRV_DATA), or a folder of clips.")
    ] = "val",
    presets: Annotated[str, typer.Option(metavar="A,B", help="Ours.")] = "fast",
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of ours.")] = 50,
    profile: Annotated[
        str, typer.Option(metavar="cpu|gpu", help="Where batches are wanted.")
    ] = "cpu",
    workers: Annotated[
        str, typer.Option(metavar="N,M", help="Processes; 1 and the number of cores by default.")
    ] = "",
    methods: Annotated[
        str, typer.Option(metavar="A,B", help="Only methods whose name contains one of these.")
    ] = "",
    sizes: Annotated[str, typer.Option(metavar="WxH,WxH")] = "256x256,854x480",
    frames: Annotated[int, typer.Option(min=64, help="Of the video joined from the clips.")] = 512,
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Clips of a batch.")] = 8,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each measurement.")] = 10.0,
    soak: Annotated[
        float, typer.Option(metavar="SECONDS", help="Instead, memory over so long a time.")
    ] = 0.0,
    prepared: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep what is stored there, and use what is there."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="For table and plot.")] = Path(
        "results"
    ),
) -> None:
    """Random 8-frame clips a second: ours, H.264 with seeking, JPEG, raw frames."""
    from hypernet.evaluation.load_benchmark import LoadPlan

    plan = LoadPlan(
        suite=suite,
        presets=parse_list(presets),
        quality=quality,
        profile=profile,
        workers=parse_numbers("--workers", workers),
        sizes=[_size(text) for text in parse_list(sizes)],
        num_frames=frames,
        batch_size=batch,
        seconds=seconds,
        methods=parse_list(methods),
    )
    with ExitStack() as stack:
        folder = prepared or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="nrv-bench-"))
        )
        if soak:
            _soak(plan, soak, folder, out)
        else:
            _compare(plan, folder, out)


def _compare(plan: LoadPlan, folder: Path, out: Path) -> None:
    from hypernet.evaluation.load_benchmark import run_load

    name = f"load-{plan.profile}"
    rows = run_load(plan, table=out / f"{name}.tsv", folder=folder, on_row=_say)
    typer.echo(out / f"{name}.tsv")
    if any(row.random_clips_per_second for row in rows):
        from hypernet.evaluation.load_plot import plot_load

        plot_load(rows, out / f"{name}.png")
        typer.echo(out / f"{name}.png")


def _soak(plan: LoadPlan, seconds: float, folder: Path, out: Path) -> None:
    from hypernet.evaluation.load_soak import growth, run_soak

    table = out / f"load-memory-{plan.profile}.tsv"
    rows = run_soak(plan, seconds=seconds, table=table, folder=folder, on_row=_say_memory)
    typer.echo(f"memory of the last quarter against the second: {growth(rows):+.2%}", err=True)
    typer.echo(table)


def _say(row: LoadRow) -> None:
    what = f"{row.width}x{row.height} {row.method} {row.device} {row.workers} workers"
    if row.random_clips_per_second is None:
        typer.echo(f"{what}: {row.note}", err=True)
        return
    typer.echo(
        f"{what}: {row.random_clips_per_second:.4g} random clips/s, "
        f"{row.sequential_frames_per_second:.4g} frames/s, {row.stored_bytes} bytes, "
        f"{row.psnr_db:.2f} dB",
        err=True,
    )


def _say_memory(row: SoakRow) -> None:
    typer.echo(
        f"{row.seconds:7.1f} s: {row.clips} clips, {row.process_bytes / 2**20:.0f} + "
        f"{row.workers_bytes / 2**20:.0f} MiB",
        err=True,
    )


def _size(text: str) -> tuple[int, int]:
    size = parse_size("--sizes", text)
    if min(size) < 16 or size[0] % 2 or size[1] % 2:
        raise InvalidSettings(f"--sizes {text}: even numbers of at least 16, as 854x480")
    return size
