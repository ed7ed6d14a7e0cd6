"""Videos that are not, or hardly: each function writes one and returns its path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from tests.clips import make_clip, moving


def missing(folder: Path) -> Path:
    return folder / "missing.mp4"


def empty(folder: Path) -> Path:
    return _written(folder / "empty.mp4", b"")


def text(folder: Path) -> Path:
    return _written(folder / "text.mp4", b"this is not a video\n" * 100)


def stream(folder: Path) -> Path:
    return _written(folder / "stream.mp4", b"\x89NRV\r\n\x1a\n" + bytes(200))


def a_folder(folder: Path) -> Path:
    return folder


def audio_only(folder: Path) -> Path:
    path = folder / "audio.mp4"
    with av.open(str(path), "w") as container:
        track = container.add_stream("aac", rate=48000)
        track.codec_context.layout = "mono"
        silence = np.zeros((1, 4096), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux([*track.encode(frame), *track.encode(None)])
    return path


def truncated(folder: Path) -> Path:
    """An MP4 file whose index was to follow."""
    path = make_clip(folder / "truncated.mp4", num_frames=20)
    return _written(path, path.read_bytes()[: path.stat().st_size // 2])


def zero_frames(folder: Path) -> Path:
    return _written(folder / "zero.y4m", y4m_header(16, 16))


def enormous(folder: Path) -> Path:
    return _written(folder / "enormous.y4m", y4m_header(16384, 16384) + b"FRAME\n")


def zero_rate(folder: Path) -> Path:
    frame = b"FRAME\n" + bytes(range(128)) * 3
    return _written(folder / "rate.y4m", y4m_header(16, 16, rate="0:1") + frame * 3)


def damaged_in_the_middle(folder: Path) -> Path:
    path = _many_clusters(folder / "damaged.mkv")
    return _written(path, _with_noise(path.read_bytes()))


def cut_short(folder: Path) -> Path:
    """A Matroska file, which needs no index to be read up to where it ends."""
    path = _many_clusters(folder / "short.mkv")
    return _written(path, path.read_bytes()[: path.stat().st_size // 2])


def mp4_cut_short(folder: Path) -> Path:
    """An MP4 file whose index comes first, and promises more than there is."""
    path = _indexed_first(folder / "short.mp4")
    return _written(path, path.read_bytes()[: path.stat().st_size * 4 // 5])


def mp4_damaged_in_the_middle(folder: Path) -> Path:
    path = _indexed_first(folder / "damaged.mp4")
    return _written(path, _with_noise(path.read_bytes()))


def one_pixel(folder: Path) -> Path:
    return _raw(folder / "pixel.nut", (1, 1), 2)


def one_frame(folder: Path) -> Path:
    return _raw(folder / "one.nut", (20, 10), 1)


def three_frames(folder: Path) -> Path:
    return _raw(folder / "three.nut", (20, 10), 3)


UNREADABLE: dict[Callable[[Path], Path], str] = {
    missing: "cannot be opened",
    empty: "is empty",
    text: "is not a video",
    stream: "an .nrv stream, not a source video",
    a_folder: "is a folder",
    audio_only: "sound only",
    truncated: "damaged",
    zero_frames: "no frame",
    enormous: "enormous.y4m",
}
READABLE = (
    zero_rate,
    damaged_in_the_middle,
    cut_short,
    mp4_cut_short,
    mp4_damaged_in_the_middle,
    one_pixel,
    one_frame,
    three_frames,
)


def y4m_header(width: int, height: int, rate: str = "25:1") -> bytes:
    return f"YUV4MPEG2 W{width} H{height} F{rate} Ip A1:1 C420\n".encode()


def _many_clusters(path: Path) -> Path:
    """A Matroska file of 40 frames that can be entered at many places."""
    options = {"cluster_time_limit": "100"}
    return make_clip(path, num_frames=40, codec_options={"g": "5"}, container_options=options)


def _indexed_first(path: Path) -> Path:
    flags = {"movflags": "faststart"}
    return make_clip(path, num_frames=40, codec_options={"g": "5"}, container_options=flags)


def _with_noise(file: bytes) -> bytes:
    """The same with 400 wrong bytes in the middle."""
    data = np.frombuffer(file, np.uint8).copy()
    middle = slice(len(data) // 2 - 200, len(data) // 2 + 200)
    data[middle] = np.random.default_rng(0).integers(0, 256, 400)
    return data.tobytes()


def _raw(path: Path, size: tuple[int, int], num_frames: int) -> Path:
    return make_clip(path, frames=moving(num_frames, size), codec="rawvideo", pix_fmt="rgb24")


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
