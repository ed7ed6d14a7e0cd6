"""``make demo``: one clip through the codec and back, with one picture and one table to look at."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from encoder_service.cli.report import decode_progress, encode_progress
from hypernet.bitstream.output import atomic_output
from hypernet.codec import encode_file
from hypernet.decoding import open_stream
from hypernet.evaluation.anchors import X264_VERYFAST
from hypernet.evaluation.metrics import compare_videos
from hypernet.evaluation.synthetic import landscape, sound
from hypernet.plan import EncodeSettings
from hypernet.result import EncodeResult
from hypernet.video.colour import UNTAGGED, frame_from_rgb, writable_colour
from hypernet.video.pictures import png_of
from hypernet.video.reader import read_frames
from hypernet.video.writer import write_video

WIDTH, HEIGHT, FRAMES, FRAME_RATE, SAMPLE_RATE = 480, 270, 75, 25, 48_000
BUDGET_SECONDS = 60.0
HIGHEST_CRF = 51


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
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    source = options.video or make_clip(folder / "source.mp4")
    stream = folder / "clip.nrv"
    with encode_progress() as on_progress:
        settings = EncodeSettings(budget_seconds=options.budget)
        result = encode_file(source, stream, settings, on_progress=on_progress)
    decode_seconds = _decode(stream, folder / "decoded.mp4")
    _write_picture(source, stream, result.frames // 2, folder / "side-by-side.png")
    anchor = x264_at(source, result.psnr_db or HIGHEST_CRF)
    console = Console()
    console.print(_table(result, anchor))
    console.print(
        f"decoded with sound to {folder}/decoded.mp4 in {decode_seconds:.1f} s; "
        f"look at {folder}/side-by-side.png (left: source, right: decoded)"
    )


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


def _write_picture(source: Path, stream_path: Path, number: int, path: Path) -> None:
    original = next(read_frames(source, number, number + 1)).rgb_HWC
    with open_stream(stream_path) as stream:
        decoded = stream.frame(number).rgb_HWC
    pair: NDArray[np.uint8] = np.concatenate([original, decoded], axis=1)
    with atomic_output(path) as file:
        file.write(png_of(pair))


def _table(result: EncodeResult, anchor: AnchorPoint) -> Table:
    table = Table(title=f"{result.frames} frames of {result.width}x{result.height}")
    for heading in ("", "bytes", "bpp", "dB", "encode s", "decode fps"):
        table.add_column(heading, justify="right")
    psnr = "inf" if result.psnr_db is None else f"{result.psnr_db:.2f}"
    table.add_row(
        result.preset,
        f"{result.video_bytes:,}",
        f"{result.bits_per_pixel:.4f}",
        psnr,
        f"{result.encode_seconds:.1f}",
        f"{result.decode_frames_per_second:.0f}",
    )
    bits_per_pixel = 8 * anchor.stream_bytes / (result.frames * result.width * result.height)
    table.add_row(
        "x264 veryfast",
        f"{anchor.stream_bytes:,}",
        f"{bits_per_pixel:.4f}",
        f"{anchor.psnr_db:.2f}",
        f"{anchor.encode_seconds:.1f}",
        "",
    )
    return table


if __name__ == "__main__":
    main()
