"""``nrv inspect``: a stream's parts and their bytes. Only --verify loads the decoders."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import typer

from encoder_service.cli.report import print_fields
from hypernet.bitstream.reader import StreamReader
from hypernet.bitstream.segment import read_segment_timing
from hypernet.bitstream.sources import ByteSource, FileSource, HttpSource


def describe(source: str, *, verify: bool) -> dict[str, Any]:
    """Everything that can be said of a stream without rendering it.

    Raises:
        InvalidStream: damaged; with ``verify``, in any part.
    """
    with ExitStack() as stack:
        reader = StreamReader(_open(source, stack))
        segments = [_segment(reader, number) for number in range(len(reader.index.segments))]
        description: dict[str, Any] = {
            "version": f"{reader.preamble.major}.{reader.preamble.minor}",
            "header": {name: value for name, value, _ in reader.header.describe()},
            "segments": segments,
            "bytes": _bytes_per_part(reader),
            "metadata": reader.metadata(),
        }
        if verify:
            description["verified_weights"] = _verify(reader)
        return description


def print_description(description: dict[str, Any], *, as_json: bool) -> None:
    """Print what ``describe`` found."""
    if as_json:
        print_fields(description, as_json=True)
        return
    typer.echo(f"nrv stream, version {description['version']}")
    print_fields(description["header"], as_json=False)
    typer.echo("")
    for number, segment in enumerate(description["segments"]):
        values = "  ".join(f"{name} {value}" for name, value in segment.items())
        typer.echo(f"segment {number}: {values}")
    typer.echo("")
    print_fields({f"{part} bytes": n for part, n in description["bytes"].items()}, as_json=False)
    if "verified_weights" in description:
        typer.echo(f"verified: all checksums, {description['verified_weights']:,} weights decoded")


def _open(source: str, stack: ExitStack) -> ByteSource:
    if source.startswith(("http://", "https://")):
        return HttpSource(source)
    return stack.enter_context(FileSource(Path(source)))


def _segment(reader: StreamReader, number: int) -> dict[str, int]:
    entry = reader.index.segments[number]
    head = read_segment_timing(reader.segment(number), reader.limits)
    return {
        "first_frame": entry.first_frame,
        "frames": entry.num_frames,
        "first_pts": entry.first_pts,
        "clips": len(head.clip_frames),
        "refinement_steps": head.refinement_steps,
        "bytes": entry.length,
    }


def _bytes_per_part(reader: StreamReader) -> dict[str, int]:
    index, preamble = reader.index, reader.preamble
    return {
        "front": preamble.front_length,
        "segments": sum(entry.length for entry in index.segments),
        "audio": index.audio.length if index.audio else 0,
        "metadata": index.metadata.length if index.metadata else 0,
        "stream": preamble.stream_length,
    }


def _verify(reader: StreamReader) -> int:
    from hypernet.decoding import verify

    return verify(reader)
