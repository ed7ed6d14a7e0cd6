"""Frames of a video or of a stream, whichever a path names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypernet.bitstream.container import SIGNATURE
from hypernet.decoding import open_stream
from hypernet.video.reader import read_frames


@contextmanager
def open_frames(source: str) -> Iterator[Iterator[NDArray[np.uint8]]]:
    """The RGB frames of ``source``.

    Raises:
        UnreadableInput: neither a stream nor a video that can be read.
    """
    if _is_stream(source):
        with open_stream(source) as stream:
            yield (frame.rgb_HWC for frame in stream.frames())
    else:
        yield (frame.rgb_HWC for frame in read_frames(source))


def _is_stream(source: str) -> bool:
    if source.startswith(("http://", "https://")):
        return True
    try:
        with Path(source).open("rb") as file:
            return file.read(len(SIGNATURE)) == SIGNATURE
    except OSError:
        return False
