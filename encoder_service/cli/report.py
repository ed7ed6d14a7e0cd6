"""What commands print: progress on stderr, results on stdout."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

if TYPE_CHECKING:
    from encoder_service.api_keys import ApiKey
    from encoder_service.serve import Announcement
    from hypernet.codec import EncodeProgress
    from hypernet.result import EncodeResult

T = TypeVar("T")


@contextmanager
def encode_progress() -> Iterator[Callable[[EncodeProgress], None]]:
    """A bar over all frames with the quality and rate of the segment in work."""
    with _bar("{task.fields[state]}") as bar:
        task = bar.add_task("reading", total=None, state="")

        def report(progress: EncodeProgress) -> None:
            bar.update(
                task,
                description=f"segment {progress.segment + 1}/{progress.num_segments}",
                total=progress.frames_total,
                completed=progress.frames_done,
                state=f"{_quality(progress)}{_clock(progress.eta_seconds)} left",
            )

        yield report


def _quality(progress: EncodeProgress) -> str:
    """Quality and rate so far; nothing while they are not known."""
    if math.isnan(progress.psnr_db):
        return ""
    return f"{progress.psnr_db:.2f} dB  {progress.bits_per_pixel:.4f} bpp  "


@contextmanager
def bytes_progress(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar over bytes that are sent or received; it is told how many there are so far."""
    with _bar("{task.percentage:.0f} %") as bar:
        task = bar.add_task(description, total=total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def remote_progress() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A bar over the frames of an encoding elsewhere; it is shown what the service says of it."""
    with _bar("{task.fields[state]}") as bar:
        task = bar.add_task("waiting", total=None, state="")

        def report(encoding: Mapping[str, Any]) -> None:
            progress = encoding["progress"]
            left = progress["eta_seconds"]
            bar.update(
                task,
                description=encoding["phase"] or encoding["status"],
                total=progress["frames_total"],
                completed=progress["frames_done"],
                state="" if left is None else f"{_clock(left)} left",
            )

        yield report


@contextmanager
def batch_progress() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """One bar over all encodings of a batch; it is shown what the service says of them."""
    with _bar("{task.fields[state]}") as bar:
        task = bar.add_task("waiting", total=None, state="")

        def report(batch: Mapping[str, Any]) -> None:
            counts = batch["encodings"]
            total = sum(counts.values())
            done = total - counts["queued"] - counts["encoding"]
            failed = f", {counts['failed']} failed" if counts["failed"] else ""
            bar.update(
                task,
                description=batch["status"],
                total=total or None,
                completed=done,
                state=f"{done} of {total}{failed}",
            )

        yield report


@contextmanager
def decode_progress(frames: Iterator[T], total: int) -> Iterator[Iterator[T]]:
    """The same frames; a bar moves as they are taken."""
    with _bar("{task.completed:.0f}/{task.total:.0f} frames") as bar:
        yield iter(bar.track(frames, total=total, description="decoding"))


def print_encoded(result: EncodeResult, output: Path, *, as_json: bool) -> None:
    """The result of an encoding; what was lost goes to stderr."""
    for warning in result.warnings:
        typer.echo(f"nrv: warning: {warning}", err=True)
    if as_json:
        print_fields(asdict(result), as_json=True)
        return
    saved = "smaller" if result.smaller_than_source else "NOT smaller"
    psnr = "lossless" if result.psnr_db is None else f"{result.psnr_db:.2f} dB"
    typer.echo(
        f"{output}: {result.stream_bytes:,} bytes ({saved} than the source's "
        f"{result.source_bytes:,}), {psnr}, {result.bits_per_pixel:.4f} bits per pixel, "
        f"{result.encode_seconds:.1f} s, decodes at {result.decode_frames_per_second:.0f} frames/s"
    )
    if result.target_met is False:
        typer.echo("the target PSNR was not reached; allow more --steps or --budget", err=True)


def print_announcement(said: Announcement, *, as_json: bool) -> None:
    """Where the service is, and what opens it."""
    if as_json:
        print_fields(asdict(said), as_json=True)
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]nrv serves at[/bold] [link]{said.url}[/link], Ctrl-C stops it")
    console.print(f"  page     {said.url}/#{said.api_key}")
    console.print(f"  API key  {said.api_key}")
    console.print(f"  Flower   {said.flower_url}  {said.flower_user} / {said.flower_password}")
    console.print("in another shell:", style="dim")
    console.print(f"  export NRV_URL={said.url} NRV_API_KEY={said.api_key}")


def print_keys(keys: Sequence[ApiKey], *, as_json: bool) -> None:
    """One key a line, or one JSON object."""
    if as_json:
        shown = [{name: _plain(value) for name, value in asdict(key).items()} for key in keys]
        print_fields({"keys": shown}, as_json=True)
        return
    for key in keys:
        revoked = f", revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else ""
        typer.echo(f"{key.id}  {key.name}  (created {key.created_at:%Y-%m-%d}{revoked})")


def print_fields(fields: Mapping[str, object], *, as_json: bool) -> None:
    """Names and values, as one JSON object or one line each."""
    if as_json:
        typer.echo(json.dumps(fields, allow_nan=False))
        return
    width = max(map(len, fields))
    for name, value in fields.items():
        typer.echo(f"{name:<{width}}  {_text(value)}")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Texts in columns: the first one to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        first, *rest = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        cells = [text.strip().rjust(width) for text, width in zip(rest, widths[1:], strict=True)]
        typer.echo("  ".join([first, *cells]))


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


def _bar(state: str) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(state),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(min(seconds, 359_999)), 60)
    return f"{minutes}:{rest:02}"
