"""What loaders are compared on: one long video, joined from the clips of a suite, at one size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from hypernet.errors import InvalidSettings, OutputNotWritable
from hypernet.evaluation.metrics import Frame

FRAME_RATE = 25


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadSource:
    """Raw frames in a file.

    Attributes:
        path: ``.npy`` of ``(N, H, W, 3)`` uint8.
        width: of a frame.
        height: of a frame.
        num_frames: of the joined video.
    """

    path: Path
    width: int
    height: int
    num_frames: int

    @property
    def num_bytes(self) -> int:
        """Of the raw frames."""
        return self.num_frames * self.height * self.width * 3

    def frames(self) -> NDArray[np.uint8]:
        """All frames, mapped from the file: read as they are looked at."""
        mapped: NDArray[np.uint8] = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return mapped


def join_clips(suite: str, folder: Path, *, size: tuple[int, int], num_frames: int) -> LoadSource:
    """Join the clips of a suite, each cropped to the shape and scaled to the size; made once.

    Args:
        suite: ``val``, ``standard`` or a folder of clips.
        folder: where the frames are kept; found there, they are used again.
        size: width and height.
        num_frames: taken from the clips in the order of their names.

    Raises:
        InvalidSettings: the suite has fewer frames, or no clips.
        UnreadableInput: a clip cannot be read.
        OutputNotWritable: no room for the frames.
    """
    width, height = size
    path = folder / f"source-{width}x{height}-{num_frames}.npy"
    if not path.exists():
        frames = _joined(suite, width, height)
        unfinished = path.with_suffix(".unfinished")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write(unfinished, frames, (num_frames, height, width, 3), suite)
            unfinished.rename(path)
        except OSError as error:
            raise OutputNotWritable(f"cannot write {path}: {error.strerror}") from error
        finally:
            unfinished.unlink(missing_ok=True)
    return LoadSource(path=path, width=width, height=height, num_frames=num_frames)


def _write(path: Path, frames: Iterator[Frame], shape: tuple[int, ...], suite: str) -> None:
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    count = 0
    for count, frame_HWC in enumerate(islice(frames, shape[0]), 1):
        file[count - 1] = frame_HWC
    if count < shape[0]:
        raise InvalidSettings(f"the clips of {suite} have {count} frames, {shape[0]} are needed")
    file.flush()


def _joined(suite: str, width: int, height: int) -> Iterator[Frame]:
    from hypernet.evaluation.codecs import read_rgb  # noqa: PLC0415 -- needs a video library
    from hypernet.evaluation.suites import find_clips  # noqa: PLC0415 -- as above

    for clip in find_clips(suite):
        for frame_HWC in read_rgb(clip):
            yield fitted(frame_HWC, width, height)


def fitted(frame_HWC: Frame, width: int, height: int) -> Frame:
    """The middle of a picture in another shape and size."""
    rows, columns = frame_HWC.shape[:2]
    kept_rows, kept_columns = (
        min(rows, round(columns * height / width)),
        min(columns, round(rows * width / height)),
    )
    top, left = (rows - kept_rows) // 2, (columns - kept_columns) // 2
    middle = frame_HWC[top : top + kept_rows, left : left + kept_columns]
    if middle.shape[:2] == (height, width):
        return middle
    planar = torch.from_numpy(middle.copy()).permute(2, 0, 1)[None].float()
    scaled = F.interpolate(planar, (height, width), mode="bicubic", antialias=True)
    pixels: Frame = scaled[0].round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()
    return pixels
