"""Which clips are measured, and the one prepared source that every codec reads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernet.errors import InvalidSettings
from hypernet.evaluation.anchors import frame_rate
from hypernet.evaluation.codecs import read_rgb
from hypernet.evaluation.encoders import LOSSLESS_RGB, write_video

#: Suites that are folders of ``$NRV_DATA``.
NAMED_SUITES = ("val", "standard")
DATA_VARIABLE = "NRV_DATA"

_SUFFIXES = frozenset({".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".y4m"})


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedClip:
    """A clip trimmed and cropped to even size, stored as lossless RGB at ``path``."""

    name: str
    path: Path
    frames: int
    width: int
    height: int

    @property
    def pixels(self) -> int:
        """Number of pixels over all frames."""
        return self.frames * self.width * self.height


def find_clips(suite: str, only: Sequence[str] = ()) -> list[Path]:
    """The video files of a suite by name, sorted.

    Args:
        suite: ``val`` or ``standard`` (folders of $NRV_DATA), or the path of a folder.
        only: keep clips whose file name contains one of these; empty keeps all.

    Raises:
        InvalidSettings: the folder is missing, or no clip is left.
    """
    folder = _folder(suite)
    clips = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not clips:
        raise InvalidSettings(f"{folder} holds no video ({', '.join(sorted(_SUFFIXES))})")
    kept = [path for path in clips if not only or any(part in path.name for part in only)]
    if not kept:
        names = ", ".join(path.name for path in clips)
        raise InvalidSettings(f"no clip of {folder} matches {', '.join(only)}; it holds {names}")
    return kept


@contextmanager
def prepared(clip: Path, max_frames: int) -> Iterator[PreparedClip]:
    """The first frames of a clip, cropped to even size, in a temporary folder of its own.

    Raises:
        UnreadableInput: the clip cannot be read.
        InvalidSettings: it is less than two pixels wide or high.
    """
    height, width = next(read_rgb(clip, 1)).shape[:2]
    height, width = height // 2 * 2, width // 2 * 2
    if min(height, width) == 0:
        raise InvalidSettings(f"{clip} is too small to compare with 4:2:0 codecs")
    with TemporaryDirectory(prefix="nrv-bench-") as folder:
        path = Path(folder) / "source.mkv"
        cropped = (frame[:height, :width] for frame in read_rgb(clip, max_frames))
        frames = write_video(cropped, path, frame_rate(clip), LOSSLESS_RGB)
        yield PreparedClip(name=clip.name, path=path, frames=frames, width=width, height=height)


def scaled_frames(clip: Path, count: int, width: int, height: int) -> Tensor:
    """The first frames of a clip, made ``width x height`` by averaging: uint8, ``(T, 3, H, W)``.

    Raises:
        UnreadableInput: the clip cannot be read.
    """
    pictures = (torch.from_numpy(frame).permute(2, 0, 1) for frame in read_rgb(clip))
    frames = [
        F.interpolate(picture[None].float(), size=(height, width), mode="area")
        for picture in islice(pictures, count)
    ]
    return torch.cat(frames).round().to(torch.uint8)


def _folder(suite: str) -> Path:
    if suite in NAMED_SUITES:
        data = os.environ.get(DATA_VARIABLE)
        if not data:
            raise InvalidSettings(
                f"the suite {suite} is a folder of ${DATA_VARIABLE}, which is not set; "
                "set it, or give the path of a folder of clips"
            )
        folder = Path(data) / suite
    else:
        folder = Path(suite)
    if not folder.is_dir():
        raise InvalidSettings(f"{folder} is not a folder of clips")
    return folder
