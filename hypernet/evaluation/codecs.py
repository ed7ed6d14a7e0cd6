"""What every codec that is compared must offer: ours, the anchors and the floors."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hypernet.errors import OutputNotWritable
from hypernet.evaluation.metrics import Frame
from hypernet.video.reader import read_frames


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodeStats:
    """What encoding one file took: wall seconds, the size of the whole written file, and where."""

    encode_seconds: float
    stream_bytes: int
    device: str = "cpu"


class VideoCodec(Protocol):
    """A codec under test: files in, files out, so that nothing but the file reaches the decoder."""

    @property
    def name(self) -> str:
        """Short and unique; identifies the codec in tables and plots."""
        ...

    @property
    def qualities(self) -> tuple[int, ...]:
        """Its ladder of operating points, in the codec's own scale (CRF, quality, factor)."""
        ...

    @property
    def suffix(self) -> str:
        """File name extension of what it writes, with the dot."""
        ...

    @property
    def threads(self) -> int:
        """How many threads it encodes with."""
        ...

    def encode(self, source: Path, output: Path, quality: int) -> EncodeStats:
        """Encode every frame of a video file; raises HypernetError."""
        ...

    def decode(self, path: Path) -> Iterator[Frame]:
        """Frames of a file that ``encode`` wrote, 8-bit RGB (HWC), at the source's size."""
        ...


def read_rgb(path: Path, stop: int | None = None) -> Iterator[Frame]:
    """The first ``stop`` frames of a video file as 8-bit RGB (HWC); raises UnreadableInput."""
    return (frame.rgb_HWC for frame in read_frames(path, 0, stop))


def stats_since(start: float, output: Path, device: str = "cpu") -> EncodeStats:
    """Seconds since ``start`` (of ``time.perf_counter``) and the size of the file now there."""
    try:
        size = output.stat().st_size
    except OSError as error:
        raise OutputNotWritable(f"{output} was not written: {error.strerror}") from error
    return EncodeStats(encode_seconds=time.perf_counter() - start, stream_bytes=size, device=device)
