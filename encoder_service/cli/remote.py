"""Commands that ask a service elsewhere (NRV_URL, NRV_API_KEY): submit, status, cancel, fetch."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from encoder_service.cli.options import AsJson, Output

if TYPE_CHECKING:
    from encoder_service.client import Client

POLL_SECONDS = 0.5
PATIENCE = 60  # looks in a row that may go unanswered while waiting

EncodingId = Annotated[str, typer.Argument(metavar="ID", help="enc_...")]
Wait = Annotated[bool, typer.Option("--wait", help="Until it is done, with a progress bar.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for command in (submit, status, cancel, fetch):
        app.command()(command)


def submit(
    source: Annotated[str, typer.Argument(metavar="FILE|s3://...|upload:ID", help="What to send.")],
    preset: Annotated[str | None, typer.Option(help="Operating point.")] = None,
    quality: Annotated[int | None, typer.Option(help="1 to 100.")] = None,
    target_psnr: Annotated[
        float | None, typer.Option(metavar="DB", help="Stop a segment at this PSNR (RGB).")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Gradient steps per segment.")] = None,
    budget: Annotated[float | None, typer.Option(metavar="SECONDS", help="Wall time.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    priority: Annotated[int | None, typer.Option(help="0 to 9; 0 is served first.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="To find it again; repeatable.")] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="upl_...", help="Go on with an upload of this FILE.")
    ] = None,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Have a video encoded by the service."""
    options = {
        "preset": preset,
        "quality": quality,
        "target_psnr_db": target_psnr,
        "steps": steps,
        "budget_seconds": budget,
        "seed": seed,
        "priority": priority,
        "labels": label,
    }
    client = _client()
    if not source.startswith(("s3://", "upload:")):
        source = _upload(client, Path(source), resume)
    chosen = {name: value for name, value in options.items() if value is not None}
    encoding = client.submit(source, chosen)
    if wait:
        typer.echo(f"nrv: {encoding['id']} is queued", err=True)
        encoding = _finished(client, encoding["id"])
    _print(encoding, as_json=as_json)
    _require_no_failure(encoding)


def status(encoding_id: EncodingId, wait: Wait = False, as_json: AsJson = False) -> None:
    """How far an encoding is."""
    client = _client()
    encoding = _finished(client, encoding_id) if wait else client.encoding(encoding_id)
    _print(encoding, as_json=as_json)
    _require_no_failure(encoding)


def cancel(encoding_id: EncodingId, as_json: AsJson = False) -> None:
    """Stop an encoding."""
    _print(_client().cancel(encoding_id), as_json=as_json)


def fetch(
    encoding_id: EncodingId, output: Output, wait: Wait = False, as_json: AsJson = False
) -> None:
    """Download the stream of an encoding."""
    from encoder_service.cli.report import bytes_progress, print_fields
    from hypernet.bitstream.output import atomic_output

    client = _client()
    encoding = _finished(client, encoding_id) if wait else client.encoding(encoding_id)
    _require_no_failure(encoding)
    total = (encoding["result"] or {}).get("stream_bytes")
    with atomic_output(output) as file, bytes_progress("fetching", total) as on_bytes:
        received = client.download(encoding_id, file, on_bytes)
    if as_json:
        print_fields(encoding["result"], as_json=True)
    else:
        typer.echo(f"{output}: {received:,} bytes")


def _client() -> Client:
    from encoder_service.client import Client

    return Client.from_environment(os.environ)


def _upload(client: Client, path: Path, resume: str | None) -> str:
    from encoder_service.cli.report import bytes_progress
    from encoder_service.errors import InvalidRequest
    from hypernet.errors import UnreadableVideo

    try:
        file = path.open("rb")
    except OSError as error:
        raise UnreadableVideo(f"cannot read {path}: {error.strerror}") from error
    with file:
        size_bytes = file.seek(0, os.SEEK_END)
        if size_bytes == 0:
            raise UnreadableVideo(f"{path} is empty")
        upload = client.find_upload(resume) if resume else client.begin_upload(size_bytes)
        if upload["size_bytes"] != size_bytes:
            raise InvalidRequest(f"--resume {resume}: that upload has another size than {path}")
        try:
            with bytes_progress("uploading", size_bytes) as on_bytes:
                return client.send_parts(upload, file, on_bytes)
        except BaseException:
            typer.echo(f"nrv: to go on, add --resume {upload['id']}", err=True)
            raise


def _finished(client: Client, encoding_id: str) -> dict[str, Any]:
    from encoder_service.cli.report import remote_progress
    from encoder_service.errors import ServiceUnreachable
    from hypernet.errors import Cancelled

    unanswered = 0
    with remote_progress() as report:
        while True:
            try:
                time.sleep(POLL_SECONDS)
                encoding = client.encoding(encoding_id)
            except Cancelled:
                raise Cancelled(f"interrupted; encoding {encoding_id} goes on") from None
            except ServiceUnreachable:
                unanswered += 1
                if unanswered == PATIENCE:
                    raise
            else:
                unanswered = 0
                report(encoding)
                if encoding["finished_at"] is not None:
                    return encoding


def _require_no_failure(encoding: dict[str, Any]) -> None:
    from encoder_service.errors import RemoteEncodingFailed

    if encoding["status"] in {"failed", "cancelled"}:
        reason = encoding["error_message"] or "it was cancelled"
        raise RemoteEncodingFailed(f"encoding {encoding['id']} {encoding['status']}: {reason}")


def _print(encoding: dict[str, Any], *, as_json: bool) -> None:
    from encoder_service.cli.report import print_fields

    if as_json:
        print_fields(encoding, as_json=True)
        return
    progress, result = encoding.get("progress"), encoding["result"]
    shown = {"id": encoding["id"], "status": encoding["status"]}
    if encoding["phase"]:
        shown["phase"] = encoding["phase"]
    if progress and progress["frames_total"]:
        shown["frames"] = f"{progress['frames_done']} of {progress['frames_total']}"
    if result:
        names = ("stream_bytes", "bits_per_pixel", "psnr_db", "encode_seconds")
        shown |= {name: result[name] for name in names}
    print_fields(shown, as_json=False)
