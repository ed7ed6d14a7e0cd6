"""Commands that work on this machine alone: encode, decode, inspect, compare, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from encoder_service.cli.options import AsJson, Device, Output, parse_frames, parse_size
from hypernet.preset_names import DEFAULT_PRESET


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for command in (encode, decode, inspect, compare, doctor):
        app.command()(command)


def encode(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Video file.")],
    output: Output,
    preset: Annotated[
        str, typer.Option(help="Operating point; see 'nrv doctor'.")
    ] = DEFAULT_PRESET,
    quality: Annotated[
        int | None, typer.Option(help="1 to 100: quality and bytes rise together.")
    ] = None,
    target_psnr: Annotated[
        float | None, typer.Option(metavar="DB", help="Stop a segment at this PSNR (RGB).")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Gradient steps per segment, at most; reproducible.")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Wall time for the file, at most.")
    ] = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Encode a video into an .nrv stream."""
    from encoder_service.cli import process

    with process.importing():
        from encoder_service.cli.report import encode_progress, print_encoded
        from hypernet.codec import encode_file
        from hypernet.plan import EncodeSettings

    settings = EncodeSettings(
        preset=preset,
        quality=quality,
        target_psnr_db=target_psnr,
        steps=steps,
        budget_seconds=budget,
        device=device,
        seed=seed,
    )
    with encode_progress() as on_progress:
        result = encode_file(
            source, output, settings, started=process.started(), on_progress=on_progress
        )
    print_encoded(result, output, as_json=as_json)


def decode(
    source: Annotated[str, typer.Argument(metavar="IN.nrv", help="Stream file or http(s) URL.")],
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="OUT", help=".mp4, .mkv, .y4m, or folder/ of PNG."),
    ],
    frames: Annotated[str | None, typer.Option(metavar="A:B", help="Frames A to B-1.")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Scale to this size.")] = None,
    device: Device = "auto",
) -> None:
    """Decode a stream into a video file or pictures."""
    from encoder_service.cli import process

    with process.importing():
        from encoder_service.cli.report import decode_progress
        from hypernet.decoding import open_stream
        from hypernet.errors import InvalidSettings
        from hypernet.plan import EncodeSettings
        from hypernet.video.writer import write_video

    start, stop = parse_frames(frames)
    scaled = None if size is None else parse_size("--size", size)
    with open_stream(source, device=EncodeSettings(device=device).torch_device()) as stream:
        total = stream.header.num_frames
        stop = min(total, total if stop is None else stop)
        if start >= stop:
            raise InvalidSettings(f"--frames {frames}: the stream ends at frame {total - 1}")
        audio = stream.reader.audio() if stop - start == total else None
        with decode_progress(stream.frames(start, stop), stop - start) as decoded:
            report = write_video(
                output, decoded, stream.info, audio, size=scaled, first_number=start
            )
    for loss in report.dropped:
        typer.echo(f"nrv: {loss}", err=True)


def inspect(
    source: Annotated[str, typer.Argument(metavar="IN.nrv", help="Stream file or http(s) URL.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Check every checksum and decode every symbol.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a stream holds, and how many bytes each part takes."""
    from encoder_service.cli.inspection import describe, print_description

    print_description(describe(source, verify=verify), as_json=as_json)


def compare(
    reference: Annotated[str, typer.Argument(help="Video or stream to compare with.")],
    other: Annotated[str, typer.Argument(help="Video or stream that is judged.")],
    as_json: AsJson = False,
) -> None:
    """Measure PSNR, MS-SSIM and, with the extra 'quality', VMAF between two videos."""
    from encoder_service.cli.report import print_fields
    from encoder_service.cli.sources import open_frames
    from hypernet.evaluation.metrics import compare_videos

    with open_frames(reference) as expected, open_frames(other) as decoded:
        print_fields(compare_videos(expected, decoded).as_json(), as_json=as_json)


def doctor(as_json: AsJson = False) -> None:
    """Check this machine: libraries, devices, presets, and a small encoding."""
    from encoder_service.cli.checkup import check, print_checkup

    checks = check()
    print_checkup(checks, as_json=as_json)
    if not all(item.passed for item in checks):
        raise typer.Exit(6)
