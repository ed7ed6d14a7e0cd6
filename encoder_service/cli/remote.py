"""Commands that ask a service elsewhere (NRV_URL, NRV_API_KEY): submit, status, cancel, fetch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from encoder_service.cli.options import AsJson, Output

if TYPE_CHECKING:
    from encoder_service.client import Client

POLL_SECONDS = 0.5
PATIENCE = 60  # looks in a row that may go unanswered while waiting

EncodingId = Annotated[str, typer.Argument(metavar="ID", help="enc_...")]
Preset = Annotated[str | None, typer.Option(help="Operating point.")]
Quality = Annotated[int | None, typer.Option(help="1 to 100.")]
TargetPsnr = Annotated[
    float | None, typer.Option(metavar="DB", help="Stop a segment at this PSNR (RGB).")
]
Steps = Annotated[int | None, typer.Option(help="Gradient steps per segment.")]
Budget = Annotated[float | None, typer.Option(metavar="SECONDS", help="Wall time.")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random.")]
Priority = Annotated[int | None, typer.Option(help="0 to 9; 0 is served first.")]
Labels = Annotated[list[str] | None, typer.Option(help="To find it again; repeatable.")]
CallbackUrl = Annotated[
    str | None, typer.Option("--callback", metavar="URL", help="Is told how it ended.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Until it is done, with a progress bar.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for command in (submit, status, cancel, fetch):
        app.command()(command)


def submit(
    source: Annotated[str, typer.Argument(metavar="FILE|s3://...|upload:ID", help="What to send.")],
    preset: Preset = None,
    quality: Quality = None,
    target_psnr: TargetPsnr = None,
    steps: Steps = None,
    budget: Budget = None,
    seed: Seed = None,
    priority: Priority = None,
    label: Labels = None,
    callback: CallbackUrl = None,
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
        "callback_url": callback,
    }
    client = connect()
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
    client = connect()
    encoding = _finished(client, encoding_id) if wait else client.encoding(encoding_id)
    _print(encoding, as_json=as_json)
    _require_no_failure(encoding)


def cancel(
    wanted: Annotated[str, typer.Argument(metavar="ID", help="enc_... or bat_...")],
    as_json: AsJson = False,
) -> None:
    """Stop an encoding, or every encoding of a batch."""
    from encoder_service.cli.report import print_fields

    if not wanted.startswith("bat_"):
        _print(connect().cancel(wanted), as_json=as_json)
        return
    batch = connect().cancel_batch(wanted)
    shown = batch if as_json else {"id": batch["id"], "status": batch["status"]}
    print_fields(shown, as_json=as_json)


def fetch(
    encoding_id: EncodingId, output: Output, wait: Wait = False, as_json: AsJson = False
) -> None:
    """Download the stream of an encoding."""
    from encoder_service.cli.report import bytes_progress, print_fields
    from hypernet.bitstream.output import atomic_output

    client = connect()
    encoding = _finished(client, encoding_id) if wait else client.encoding(encoding_id)
    _require_no_failure(encoding)
    total = (encoding["result"] or {}).get("stream_bytes")
    with atomic_output(output) as file, bytes_progress("fetching", total) as on_bytes:
        received = client.download(encoding_id, file, on_bytes)
    if as_json:
        print_fields(encoding["result"], as_json=True)
    else:
        typer.echo(f"{output}: {received:,} bytes")


def connect() -> Client:
    """The service that the environment names."""
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


def watch(
    look: Callable[[], dict[str, Any]],
    is_over: Callable[[dict[str, Any]], bool],
    report: Callable[[dict[str, Any]], None],
    *,
    interrupted: str,
) -> dict[str, Any]:
    """Look again and again until it is over; a service that is away for a while is waited for.

    Raises:
        Cancelled: somebody interrupts us; ``interrupted`` says what goes on all the same.
    """
    from encoder_service.errors import ServiceUnreachable
    from hypernet.errors import Cancelled

    unanswered = 0
    while True:
        try:
            time.sleep(POLL_SECONDS)
            seen = look()
        except Cancelled:
            raise Cancelled(f"interrupted; {interrupted}") from None
        except ServiceUnreachable:
            unanswered += 1
            if unanswered == PATIENCE:
                raise
        else:
            unanswered = 0
            report(seen)
            if is_over(seen):
                return seen


def _finished(client: Client, encoding_id: str) -> dict[str, Any]:
    from encoder_service.cli.report import remote_progress

    with remote_progress() as report:
        return watch(
            lambda: client.encoding(encoding_id),
            lambda seen: seen["finished_at"] is not None,
            report,
            interrupted=f"encoding {encoding_id} goes on",
        )


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
