"""Reading a few consecutive frames of what other methods stored, opened where it is first read.

A reader may be sent to another process before its first read.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from hypernet.evaluation.load_source import FRAME_RATE


class FrameReader(Protocol):
    """Reads frames of what is stored; opened by the first ``read``, in whatever process."""

    def read(self, first: int, count: int) -> Tensor:
        """Consecutive frames, ``(count, H, W, 3)`` uint8."""
        ...


class PyAvReader:
    """Seeks to the key frame before, and decodes from there; goes on without seeking."""

    def __init__(self, path: Path) -> None:
        from hypernet.video.colour import rgb_of  # noqa: PLC0415 -- needs PyAV, as all of it does

        self._path, self._rgb_of = path, rgb_of
        self._frames: Iterator[Any] | None = None
        self._next = 0

    def read(self, first: int, count: int) -> Tensor:
        """See ``FrameReader``."""
        if self._frames is None or first != self._next:
            self._frames = self._seek(first)
        self._next = first + count
        pictures = [self._rgb_of(next(self._frames)) for _ in range(count)]
        return torch.from_numpy(np.stack(pictures))

    def _seek(self, first: int) -> Iterator[Any]:
        import av  # noqa: PLC0415 -- may be missing where others are measured

        container = av.open(str(self._path))
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        assert stream.time_base is not None  # noqa: S101 -- we wrote the file
        ticks = 1 / (FRAME_RATE * stream.time_base)
        container.seek(round(first * ticks), stream=stream)
        for frame in container.decode(stream):
            if frame.pts is not None and frame.pts >= round(first * ticks):
                yield frame


class DecordReader:
    """Through decord, which seeks by itself."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._video: Any = None

    def read(self, first: int, count: int) -> Tensor:
        """See ``FrameReader``."""
        if self._video is None:
            import decord  # noqa: PLC0415 -- may be missing where others are measured

            self._video = decord.VideoReader(str(self._path), num_threads=1)
        frames = self._video.get_batch(range(first, first + count))
        return torch.from_numpy(frames.asnumpy())


class JpegTarReader:
    """Knows where each picture lies, and decodes it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: list[tuple[int, int]] = []

    def read(self, first: int, count: int) -> Tensor:
        """See ``FrameReader``."""
        from PIL import Image  # noqa: PLC0415 -- may be missing where others are measured

        if not self._places:
            with tarfile.open(self._path) as archive:
                self._places = [(m.offset_data, m.size) for m in archive.getmembers()]
        pictures = []
        with self._path.open("rb") as file:
            for offset, length in self._places[first : first + count]:
                file.seek(offset)
                with Image.open(io.BytesIO(file.read(length))) as picture:
                    pictures.append(np.asarray(picture))
        return torch.from_numpy(np.stack(pictures))


@dataclass(frozen=True, slots=True, eq=False)
class MemoryReader:
    """Frames in memory that processes share."""

    frames: Tensor

    def read(self, first: int, count: int) -> Tensor:
        """See ``FrameReader``."""
        return self.frames[first : first + count]
