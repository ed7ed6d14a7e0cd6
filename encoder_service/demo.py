"""``make demo``: one clip through the service and back, with a picture and a table to look at."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from encoder_service.cli.remote import watch
from encoder_service.cli.report import bytes_progress, decode_progress, remote_progress
from encoder_service.client import Client
from encoder_service.errors import RemoteEncodingFailed, ServiceError
from encoder_service.temporary_service import temporary_service
from hypernet.bitstream.output import atomic_output
from hypernet.decoding import open_stream
from hypernet.errors import HypernetError, UnreadableVideo
from hypernet.evaluation.anchors import X264_VERYFAST
from hypernet.evaluation.metrics import compare_videos
from hypernet.evaluation.synthetic import landscape, sound
from hypernet.preset_names import DEFAULT_PRESET
from hypernet.video.colour import UNTAGGED, frame_from_rgb, writable_colour
from hypernet.video.pictures import png_of
from hypernet.video.reader import read_frames
from hypernet.video.writer import write_video

WIDTH, HEIGHT, FRAMES, FRAME_RATE, SAMPLE_RATE = 480, 270, 75, 25, 48_000
BUDGET_SECONDS = 60.0
HIGHEST_CRF = 51
INTERRUPTED = 130  # exit status


@dataclass(frozen=True, kw_only=True, slots=True)
class AnchorPoint:
    """x264 at the quality nearest to ours."""

    stream_bytes: int
    psnr_db: float
    encode_seconds: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the demo; everything it makes lies in one folder."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--video", type=Path, help="your own video instead of the made-up one")
    parser.add_argument("--folder", type=Path, default=Path("demo"))
    parser.add_argument("--budget", type=float, default=BUDGET_SECONDS, help="seconds to encode")
    options = parser.parse_args(arguments)
    # What stops us unwinds us, so that the service and its folder go first.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        run(options.video, options.folder, options.budget)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except (HypernetError, ServiceError) as error:
        sys.exit(f"demo: {error}")


def run(video: Path | None, folder: Path, budget_seconds: float) -> None:
    """Encode through a service, decode and compare here, and say how it went."""
    folder.mkdir(parents=True, exist_ok=True)
    source = video or make_clip(folder / "source.mp4")
    stream = folder / "clip.nrv"
    wanted = {"preset": DEFAULT_PRESET, "budget_seconds": budget_seconds}
    with _opened(source) as file, temporary_service(folder / "service.log") as client:
        result = encode_remotely(client, file, stream, wanted)
    decode_seconds = _decode(stream, folder / "decoded.mp4")
    psnr_db = _compare(source, stream)
    _write_picture(source, stream, result["frames"] // 2, folder / "side-by-side.png")
    anchor = x264_at(source, psnr_db)
    console = Console()
    for warning in result["warnings"]:
        console.print(f"warning: {warning}", markup=False)
    console.print(_table(result, psnr_db, anchor))
    console.print(
        f"decoded with sound to {folder}/decoded.mp4 in {decode_seconds:.1f} s; "
        f"look at {folder}/side-by-side.png (left: source, right: decoded)"
    )


def encode_remotely(
    client: Client, source: BinaryIO, stream: Path, wanted: Mapping[str, object]
) -> dict[str, Any]:
    """Upload a video, wait for its stream and download it; returns what the service measured.

    Raises:
        UnreadableVideo: the file is empty.
        RemoteEncodingFailed: the service could not encode it.
    """
    size_bytes = source.seek(0, os.SEEK_END)
    if size_bytes == 0:
        raise UnreadableVideo("the video is empty")
    with bytes_progress("uploading", size_bytes) as on_bytes:
        uploaded = client.send_parts(client.begin_upload(size_bytes), source, on_bytes)
    encoding_id = client.submit(uploaded, wanted)["id"]
    with remote_progress() as report:
        ended = watch(
            lambda: client.encoding(encoding_id),
            lambda seen: seen["finished_at"] is not None,
            report,
            interrupted="the service ends, too",
        )
    if ended["status"] != "succeeded":
        raise RemoteEncodingFailed(ended["error_message"] or f"it was {ended['status']}")
    with atomic_output(stream) as output, bytes_progress("fetching", None) as on_bytes:
        client.download(encoding_id, output, on_bytes)
    result: dict[str, Any] = ended["result"]
    return result


def _opened(source: Path) -> BinaryIO:
    try:
        return source.open("rb")
    except OSError as error:
        raise UnreadableVideo(f"cannot read {source}: {error.strerror}") from error


def make_clip(path: Path) -> Path:
    """Write the made-up landscape with its sound as H.264 and AAC."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FRAME_RATE, options={"crf": "14"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        colour = writable_colour(UNTAGGED, rgb=False)
        for number, rgb_HWC in enumerate(landscape(WIDTH, HEIGHT, FRAMES)):
            frame = frame_from_rgb(rgb_HWC, "yuv420p", colour, (WIDTH, HEIGHT))
            frame.pts, frame.time_base = number, Fraction(1, FRAME_RATE)
            container.mux(video.encode(frame))
        samples = sound(SAMPLE_RATE * FRAMES // FRAME_RATE, SAMPLE_RATE)
        noise = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        noise.sample_rate = SAMPLE_RATE
        container.mux([*audio.encode(noise), *audio.encode(None), *video.encode(None)])
    return path


def x264_at(source: Path, psnr_db: float) -> AnchorPoint:
    """x264 veryfast at the highest CRF that still reaches a PSNR (bisection)."""
    low, high = 0, HIGHEST_CRF
    best = _x264(source, low)
    while low < high:
        middle = (low + high + 1) // 2
        point = _x264(source, middle)
        if point.psnr_db >= psnr_db:
            low, best = middle, point
        else:
            high = middle - 1
    return best


def _x264(source: Path, crf: int) -> AnchorPoint:
    with tempfile.TemporaryDirectory(prefix="nrv-demo-") as folder:
        output = Path(folder, "anchor.mp4")
        stats = X264_VERYFAST.encode(source, output, crf)
        quality = compare_videos(
            (frame.rgb_HWC for frame in read_frames(source)),
            X264_VERYFAST.decode(output),
            ms_ssim_every=0,
            with_vmaf=False,
        )
    return AnchorPoint(
        stream_bytes=stats.stream_bytes,
        psnr_db=quality.psnr_db,
        encode_seconds=stats.encode_seconds,
    )


def _decode(stream_path: Path, output: Path) -> float:
    started = time.monotonic()
    with open_stream(stream_path) as stream:
        total = stream.header.num_frames
        with decode_progress(stream.frames(), total) as frames:
            write_video(output, frames, stream.info, stream.reader.audio())
    return time.monotonic() - started


def _compare(source: Path, stream_path: Path) -> float:
    """PSNR of the downloaded file, as a fresh decoder shows it."""
    with open_stream(stream_path) as stream:
        quality = compare_videos(
            (frame.rgb_HWC for frame in read_frames(source)),
            (frame.rgb_HWC for frame in stream.frames()),
            ms_ssim_every=0,
            with_vmaf=False,
        )
    return quality.psnr_db


def _write_picture(source: Path, stream_path: Path, number: int, path: Path) -> None:
    original = next(read_frames(source, number, number + 1)).rgb_HWC
    with open_stream(stream_path) as stream:
        decoded = stream.frame(number).rgb_HWC
    pair: NDArray[np.uint8] = np.concatenate([original, decoded], axis=1)
    with atomic_output(path) as file:
        file.write(png_of(pair))


def _table(result: Mapping[str, Any], psnr_db: float, anchor: AnchorPoint) -> Table:
    frames, width, height = result["frames"], result["width"], result["height"]
    table = Table(title=f"{frames} frames of {width}x{height}")
    for heading in ("", "bytes", "bpp", "dB", "encode s", "decode fps"):
        table.add_column(heading, justify="right")
    table.add_row(
        result["preset"],
        f"{result['video_bytes']:,}",
        f"{result['bits_per_pixel']:.4f}",
        f"{psnr_db:.2f}",
        f"{result['encode_seconds']:.1f}",
        f"{result['decode_frames_per_second']:.0f}",
    )
    table.add_row(
        "x264 veryfast",
        f"{anchor.stream_bytes:,}",
        f"{8 * anchor.stream_bytes / (frames * width * height):.4f}",
        f"{anchor.psnr_db:.2f}",
        f"{anchor.encode_seconds:.1f}",
        "",
    )
    return table


if __name__ == "__main__":
    main()
