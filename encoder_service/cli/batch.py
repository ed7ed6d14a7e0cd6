"""``nrv batch``: everything below a prefix of a bucket, encoded by a service elsewhere."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from encoder_service.cli import remote
from encoder_service.cli.options import AsJson

if TYPE_CHECKING:
    from encoder_service.client import Client

OVER = frozenset({"succeeded", "failed"})
MEASURED = ("source_bytes", "stream_bytes", "bits_per_pixel", "psnr_db", "encode_seconds")
COLUMNS = ("source", "id", "status", "destination", *MEASURED, "error_code", "error_message")


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(batch)


def batch(
    source: Annotated[str, typer.Argument(metavar="s3://BUCKET/PREFIX", help="What to encode.")],
    include: Annotated[
        str | None, typer.Option(metavar="GLOB", help="Only these names, such as '*.mp4'.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="s3://...", help="Where copies of the streams go.")
    ] = None,
    preset: remote.Preset = None,
    quality: remote.Quality = None,
    target_psnr: remote.TargetPsnr = None,
    steps: remote.Steps = None,
    budget: remote.Budget = None,
    seed: remote.Seed = None,
    priority: remote.Priority = None,
    label: remote.Labels = None,
    callback: remote.CallbackUrl = None,
    results: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="One line per object [bat_ID.csv].")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed before.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Have everything below a prefix encoded; the same command again goes on where it stopped."""
    from encoder_service.cli.report import batch_progress

    options = {
        "include": include,
        "out": out,
        "preset": preset,
        "quality": quality,
        "target_psnr_db": target_psnr,
        "steps": steps,
        "budget_seconds": budget,
        "seed": seed,
        "priority": priority,
        "labels": label,
        "callback_url": callback,
    }
    client = remote.connect()
    chosen = {name: value for name, value in options.items() if value is not None}
    batch_id = client.submit_batch(source, chosen)["id"]
    typer.echo(f"nrv: {batch_id} is submitted", err=True)
    if retry_failed:
        _retry(client, batch_id)
    with batch_progress() as report:
        seen = remote.watch(
            lambda: client.batch(batch_id),
            lambda seen: seen["status"] in OVER,
            report,
            interrupted=f"{batch_id} goes on; the same command follows it again",
        )
    results = results or Path(f"{batch_id}.csv")
    totals = _write(results, client.encodings(batch=batch_id))
    _print(seen, totals, results, as_json=as_json)
    _require_success(seen, results)


@dataclass(kw_only=True, slots=True)
class Total:
    """Sums over the encodings that have one status."""

    encodings: int = 0
    source_bytes: int = 0
    stream_bytes: int = 0
    encode_seconds: float = 0.0

    def add(self, result: dict[str, Any]) -> None:
        """Count one more."""
        self.encodings += 1
        self.source_bytes += result.get("source_bytes") or 0
        self.stream_bytes += result.get("stream_bytes") or 0
        self.encode_seconds += result.get("encode_seconds") or 0.0


def _retry(client: Client, batch_id: str) -> None:
    """Try failed and cancelled encodings again."""
    for status in ("failed", "cancelled"):
        for encoding in [*client.encodings(batch=batch_id, status=status)]:
            client.retry(encoding["id"])


def _write(path: Path, encodings: Iterable[dict[str, Any]]) -> dict[str, Total]:
    """One line per encoding; returns sums by status."""
    import io

    from hypernet.bitstream.output import atomic_output

    totals: dict[str, Total] = defaultdict(Total)
    with atomic_output(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        try:
            writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            for encoding in encodings:
                result = encoding["result"] or {}
                writer.writerow({**{name: result.get(name) for name in MEASURED}, **encoding})
                totals[encoding["status"]].add(result)
        finally:
            text.detach()  # the file is closed, and renamed, by its owner
    return dict(totals)


def _print(seen: dict[str, Any], totals: dict[str, Total], results: Path, *, as_json: bool) -> None:
    from encoder_service.cli.report import print_fields, print_table

    rows = {status: asdict(total) for status, total in totals.items()}
    if as_json:
        print_fields({**seen, "totals": rows, "results": str(results)}, as_json=True)
        return
    print_table(
        ("status", "encodings", "source bytes", "stream bytes", "seconds"),
        [
            (
                status,
                f"{total.encodings:,}",
                f"{total.source_bytes:,}",
                f"{total.stream_bytes:,}",
                f"{total.encode_seconds:,.1f}",
            )
            for status, total in totals.items()
        ],
    )
    typer.echo(f"{results}: one line for each")


def _require_success(seen: dict[str, Any], results: Path) -> None:
    from encoder_service.errors import RemoteEncodingFailed
    from hypernet.errors import UnreadableVideo

    if seen["listing"] == "failed":
        raise RemoteEncodingFailed(f"{seen['source']} cannot be listed: {seen['error_message']}")
    counts = seen["encodings"]
    total = sum(counts.values())
    if total == 0:
        raise UnreadableVideo(f"{seen['source']}: nothing there matches")
    if counts["succeeded"] < total:
        raise RemoteEncodingFailed(
            f"{total - counts['succeeded']} of {total} encodings did not succeed; "
            f"{results} says why, --retry-failed tries them again"
        )
