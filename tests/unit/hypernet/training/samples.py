"""A folder of tiny training videos, and a configuration that trains on it in seconds."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from hypernet.training.journal import write_png

DEBUG = Path(__file__).parents[4] / "configs" / "debug.toml"
DEBUG_TECONERV = DEBUG.with_name("debug-teconerv.toml")
DEBUG_NERV_ENC = DEBUG.with_name("debug-nerv-enc.toml")


def texture(number: int, size: tuple[int, int], scene: int) -> NDArray[np.uint8]:
    """Frame ``number`` of a drifting texture, ``(H, W, 3)``; ``size`` is width and height."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    waves = [np.sin((x + number) / (5 + c + scene) + y / (7 + scene)) for c in range(3)]
    return (128 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


def write_video(path: Path, num_frames: int, size: tuple[int, int], scene: int = 0) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(texture(number, size, scene), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def make_sources(folder: Path) -> Path:
    """Two usable videos, one still, and one of everything that has to be skipped."""
    sources = folder / "sources"
    sources.mkdir(parents=True)
    write_video(sources / "aa_one.mp4", 24, (96, 64), 1)
    write_video(sources / "bb_two.mkv", 16, (64, 80), 2)
    write_png(sources / "still.png", texture(0, (100, 90), 3))
    write_video(sources / "bb_short.mp4", 5, (96, 64))
    write_video(sources / "bb_small.mp4", 16, (48, 32))
    (sources / "cc_text.mp4").write_text("this is not a video")
    (sources / "cc_empty.mp4").write_bytes(b"")
    (sources / "notes.txt").write_text("ignored")
    return sources


def make_config(
    folder: Path, sources: Path, output: str = "run", shipped: Path = DEBUG, **changes: str
) -> Path:
    """A shipped debug configuration with paths below ``folder``; values replaced by key."""
    replaced = {
        "train": f'"{sources}"',
        "cache": f'"{folder / "cache"}"',
        "folder": f'"{folder / output}"',
        **changes,
    }
    lines = []
    for line in shipped.read_text().splitlines():
        key = line.split(" = ")[0]
        lines.append(f"{key} = {replaced.pop(key)}" if key in replaced else line)
    assert not replaced, f"no such keys in {shipped}: {replaced}"
    path = folder / f"{output}.toml"
    path.write_text("\n".join(lines))
    return path
