"""``nrv bench``: measurements, ours and the anchors side by side, written to TSV."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from encoder_service.cli.family_bench import family
from encoder_service.cli.load_bench import load
from encoder_service.cli.options import parse_decimals, parse_list, parse_numbers
from encoder_service.cli.service_bench import service
from encoder_service.cli.speed_bench import speed

if TYPE_CHECKING:
    from hypernet.evaluation.benchmark import Progress
    from hypernet.evaluation.codecs import VideoCodec

app = typer.Typer(help="Measure, ours and the anchors side by side.", no_args_is_help=True)
app.command()(family)
app.command()(load)
app.command()(service)
app.command()(speed)

Suite = Annotated[str, typer.Option(help="val, standard (in $NRV_DATA), or a folder of clips.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for tables and plots.")]
Presets = Annotated[str, typer.Option(metavar="A,B|all", help="Our presets to measure.")]
Clips = Annotated[str, typer.Option(help="Only clips whose name contains one of these, A,B.")]


@app.command()
def rd(
    suite: Suite = "val",
    presets: Presets = "nerv-s",
    qualities: Annotated[
        str, typer.Option(help="Ladder of our presets; by default what suits each.")
    ] = "",
    budget: Annotated[float, typer.Option(help="Seconds for each encoding by a fit.")] = 20.0,
    anchors: Annotated[
        str, typer.Option(metavar="A,B|all|none", help="Of x264, x265, SVT-AV1, by their names.")
    ] = "all",
    floors: Annotated[bool, typer.Option(help="Also the sanity floors.")] = True,
    clips: Clips = "",
    frames: Annotated[int, typer.Option(help="First frames of each clip.")] = 96,
    ms_ssim_every: Annotated[int, typer.Option(help="MS-SSIM on every k-th frame.")] = 8,
    out: Out = Path("results"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Start the table over.")] = False,
) -> None:
    """Rate and distortion on a suite of clips; resumes where it was interrupted."""
    from hypernet.evaluation.benchmark import run_rd
    from hypernet.evaluation.floors import FLOORS
    from hypernet.evaluation.presets import line_up
    from hypernet.evaluation.report import write_report

    ladder = tuple(parse_numbers("--qualities", qualities))
    ours = line_up(_presets(presets), ladder, budget)
    codecs: list[VideoCodec] = [*ours, *_anchors(anchors), *(FLOORS if floors else ())]
    name = f"rd-{Path(suite).name}"
    result = run_rd(
        suite=suite,
        codecs=codecs,
        table=out / f"{name}.tsv",
        max_frames=frames,
        clips=parse_list(clips),
        ms_ssim_every=ms_ssim_every,
        fresh=fresh,
        on_progress=_report,
    )
    for path in [result.table, *write_report(result.rows, out, name=name)]:
        typer.echo(path)
    if result.failures:
        raise typer.Exit(1)


@app.command()
def fit(
    profile: Annotated[
        str,
        typer.Option(
            metavar="laptop|paper",
            help="All fitted methods at equal bytes, or a paper's own setting (for a GPU).",
        ),
    ] = "",
    suite: Suite = "standard",
    presets: Annotated[str, typer.Option(metavar="A,B", help="Without a profile.")] = "nerv-s",
    qualities: Annotated[str, typer.Option(help="Sizes of the network.")] = "30,50,70",
    clips: Annotated[str, typer.Option(help="Part of their names, A,B; a few by default.")] = "",
    methods: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help="Of rate-aware, then-8-bit, float32; with --profile laptop of nerv, nerv-even, "
            "nerv-plus, srnerv, srnerv-unshared, nirvana.",
        ),
    ] = "",
    steps: Annotated[int, typer.Option(help="Gradient steps of every fit.")] = 400,
    name: Annotated[str, typer.Option(help="Name of the table.")] = "",
    out: Out = Path("results"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Start a profile's tables over.")] = False,
) -> None:
    """Fits side by side: methods of a profile, or ways of rounding at equal steps."""
    if profile == "paper":
        _paper(suite, parse_list(clips), out)
        return
    if profile:
        _profile(profile, suite, parse_list(clips), parse_list(methods), name, out, fresh=fresh)
        return
    from hypernet.evaluation.fit_benchmark import run_fit

    table = out / f"{name or 'fit'}.tsv"
    run_fit(
        suite=suite,
        table=table,
        presets=_presets(presets),
        qualities=parse_numbers("--qualities", qualities),
        clips=parse_list(clips) or ["carphone", "Basketball", "blackswan"],
        methods=parse_list(methods) or ["rate-aware", "then-8-bit"],
        steps=steps,
        on_row=lambda row: typer.echo(
            f"{row.clip} {row.preset} q{row.quality} {row.method}: {row.bytes} bytes, "
            f"{row.psnr_db:.2f} dB",
            err=True,
        ),
    )
    typer.echo(table)


@app.command()
def decode(
    presets: Presets = "all",
    width: Annotated[int, typer.Option(min=1, max=8192)] = 854,
    height: Annotated[int, typer.Option(min=1, max=8192)] = 480,
    out: Out = Path("results"),
) -> None:
    """Frames per second, operations per pixel and random access of every preset."""
    from hypernet.evaluation.decode_benchmark import run_decode

    run_decode(
        table=out / "decode.tsv",
        presets=_presets(presets),
        width=width,
        height=height,
        on_row=lambda row: typer.echo(
            f"{row.preset}: {row.frames_per_second:.1f} frames/s at "
            f"{row.kilo_multiply_adds_per_pixel:.2f} kMAC/pixel",
            err=True,
        ),
    )
    typer.echo(out / "decode.tsv")


@app.command()
def predictor(
    suite: Suite = "val",
    training: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Training clips; $NRV_DATA/train.")
    ] = None,
    model: Annotated[str, typer.Option(help="Name of an installed predictor.")] = "",
    arms: Annotated[str, typer.Option(metavar="A,B", help="Ways of coding; all by default.")] = "",
    qualities: Annotated[str, typer.Option(help="1 to 100.")] = "20,40,60,80",
    clips: Clips = "",
    frames: Annotated[int, typer.Option(help="First frames of each clip.")] = 64,
    out: Out = Path("results"),
) -> None:
    """What references, their limit, motion and gains are worth, and whether borders show."""
    from encoder_service.cli.extras import require_extra

    require_extra("train")
    from hypernet.evaluation.predictor_benchmark import ARMS, compare_arms, run_predictor
    from hypernet.presets import DEFAULT_MODEL

    table = out / f"predictor-{Path(suite).name}.tsv"
    rows = run_predictor(
        suite=suite,
        training=str(training or Path(os.environ.get("NRV_DATA", ""), "train")),
        table=table,
        model=model or DEFAULT_MODEL,
        arms=parse_list(arms) or tuple(ARMS),
        qualities=parse_numbers("--qualities", qualities),
        clips=parse_list(clips),
        max_frames=frames,
        on_row=lambda row: typer.echo(
            f"{row.clip} {row.arm} q{row.quality}: {row.psnr_db:.2f} dB at "
            f"{row.bits_per_pixel:.4f} bpp, borders {row.tile_border_ratio:.3f}",
            err=True,
        ),
    )
    for arm, (percent, decibels) in compare_arms(rows).items():
        typer.echo(f"{arm}: {percent:+.1f} % bytes at equal PSNR, {decibels:+.2f} dB at equal rate")
    typer.echo(table)


@app.command()
def memory(
    seconds: Annotated[str, typer.Option(help="Lengths of the clips.")] = "20,120",
    width: Annotated[int, typer.Option(min=16, max=8192)] = 320,
    height: Annotated[int, typer.Option(min=16, max=8192)] = 180,
    preset: Annotated[str, typer.Option(help="Operating point.")] = "debug",
    out: Out = Path("results"),
) -> None:
    """Peak memory of encoding clips of several lengths, each in a process of its own."""
    from hypernet.evaluation.memory_benchmark import run_memory

    run_memory(
        table=out / f"memory-{width}x{height}.tsv",
        seconds=parse_decimals("--seconds", seconds),
        size=(width, height),
        preset=preset,
        on_row=lambda row: typer.echo(
            f"{row.seconds:g} s: {row.peak_bytes / 2**20:.0f} MiB", err=True
        ),
    )
    typer.echo(out / f"memory-{width}x{height}.tsv")


def _paper(suite: str, clips: list[str], out: Path) -> None:
    from hypernet.evaluation.paper_fit import run_paper
    from hypernet.evaluation.suites import find_clips

    table = run_paper(
        clip=find_clips(suite, clips or ["bunny"])[0],
        out=out,
        on_row=lambda row: typer.echo(
            f"{row.clip} {row.epochs} epochs: {row.psnr_db:.2f} dB, {row.fit_seconds:.0f} s",
            err=True,
        ),
    )
    typer.echo(table)


def _profile(
    profile: str,
    suite: str,
    clips: list[str],
    methods: list[str],
    name: str,
    out: Path,
    *,
    fresh: bool,
) -> None:
    from dataclasses import replace

    from hypernet.evaluation.fit_profile import LAPTOP, PUBLISHED, run_profile

    if profile != "laptop":
        raise typer.BadParameter(f"no profile {profile!r}; choose laptop or paper")
    table = run_profile(
        suite=suite,
        out=out,
        name=name or "fit-laptop",
        profile=replace(LAPTOP, clips=tuple(clips)) if clips else LAPTOP,
        methods=methods or PUBLISHED,
        fresh=fresh,
        on_row=lambda row: typer.echo(
            f"{row.clip} {row.method} {row.size} {row.epochs} epochs: {row.bytes} bytes, "
            f"{row.psnr_db:.2f} dB, {row.cpu_seconds:.0f} s",
            err=True,
        ),
    )
    typer.echo(table)


def _report(progress: Progress) -> None:
    done = f"[{progress.done}/{progress.total}] {progress.clip} {progress.codec} {progress.quality}"
    if progress.row is not None:
        row = progress.row
        typer.echo(f"{done}: {row.bits_per_pixel:.4f} bpp, {row.psnr_db:.2f} dB", err=True)
    else:
        typer.echo(f"{done}: {progress.failure}", err=True)


def _presets(names: str) -> list[str]:
    from hypernet.presets import PRESETS, find_preset

    if names != "all":
        return [find_preset(name).name for name in parse_list(names)]
    return [name for name in PRESETS if name != "debug" and "-paper-" not in name]


def _anchors(names: str) -> list[VideoCodec]:
    from hypernet.evaluation.anchors import ANCHORS

    known: dict[str, VideoCodec] = {anchor.name: anchor for anchor in ANCHORS}
    if names in {"all", "none"}:
        return list(known.values()) if names == "all" else []
    if unknown := set(parse_list(names)) - known.keys():
        raise typer.BadParameter(f"no anchor {min(unknown)!r}; choose of {', '.join(known)}")
    return [known[name] for name in parse_list(names)]
