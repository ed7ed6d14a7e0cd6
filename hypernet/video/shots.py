"""Shot cuts: frames that no motion of the previous frame explains.

Frames are compared as 64x36 thumbnails. Each 6x6 block of the new one is matched against the old
one within a few cells in every direction, so that pans, shakes and moving objects match while a new
scene does not. The mean residual of the best matches decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from hypernet.video.reader import Frame

#: Mean absolute residual, in 8-bit code values, from which a frame may start a new shot.
CUT_RESIDUAL = 15.0
#: How far it must stand out from the residuals just before and after, which fast motion raises too.
CUT_CONTRAST = 1.8

_ROWS, _COLUMNS = 36, 64
_SAMPLES = 4
_BLOCK = 6
_REACH = 6

_Thumbnail = NDArray[np.float32]


def mark_shots(frames: Iterable[Frame]) -> Iterator[tuple[Frame, bool]]:
    """Every frame with whether it starts a shot; the first one does.

    A frame is held until its successor shows whether it was a cut, a flash or fast motion.
    """
    before: _Thumbnail | None = None
    last: _Thumbnail | None = None
    held: tuple[Frame, _Thumbnail] | None = None
    for frame in frames:
        small = thumbnail(frame.rgb_HWC)
        if held is not None and last is not None:
            flash = not _differ(last, small)
            yield held[0], not flash and _stands_out(before, last, held[1], small)
            if not flash:
                before, last = last, held[1]
            held = None
        if last is not None and _differ(last, small):
            held = frame, small
            continue
        yield frame, last is None
        before, last = last, small
    if held is not None and last is not None:
        yield held[0], _stands_out(before, last, held[1], None)


def _differ(old: _Thumbnail, new: _Thumbnail) -> bool:
    # Matching can only lower the residual: most frames are settled without it.
    if np.abs(new - old).mean() < CUT_RESIDUAL:
        return False
    return residual(old, new) >= CUT_RESIDUAL


def _stands_out(
    before: _Thumbnail | None, last: _Thumbnail, new: _Thumbnail, after: _Thumbnail | None
) -> bool:
    around = [] if before is None else [residual(before, last)]
    around += [] if after is None else [residual(new, after)]
    return not around or residual(last, new) >= CUT_CONTRAST * sum(around) / len(around)


def thumbnail(rgb_HWC: NDArray[np.uint8]) -> _Thumbnail:
    """The frame, whatever its size, as 36 x 64 cells of RGB, each the mean of 16 samples."""
    height, width, _ = rgb_HWC.shape
    rows = (np.arange(_ROWS * _SAMPLES) * height) // (_ROWS * _SAMPLES)
    columns = (np.arange(_COLUMNS * _SAMPLES) * width) // (_COLUMNS * _SAMPLES)
    samples = rgb_HWC[rows[:, None], columns]
    # One axis after the other is ten times as fast as both at once.
    sums = samples.reshape(_ROWS, _SAMPLES, -1).sum(axis=1, dtype=np.uint16)
    sums = sums.reshape(_ROWS, _COLUMNS, _SAMPLES, 3)
    total = sum(sums[:, :, sample] for sample in range(_SAMPLES))
    return np.asarray(total, dtype=np.float32) / np.float32(_SAMPLES**2)


def residual(old: _Thumbnail, new: _Thumbnail) -> float:
    """What is left of the new thumbnail after each block is matched in the old one, 0..255."""
    padded = np.pad(old, ((_REACH, _REACH), (_REACH, _REACH), (0, 0)), mode="edge")
    best = np.full((_ROWS // _BLOCK, _COLUMNS // _BLOCK), np.inf, dtype=np.float32)
    height, width = best.shape[0] * _BLOCK, best.shape[1] * _BLOCK
    target = new[:height, :width]
    for shifted in _shifts(padded, height, width):
        blocks = np.abs(target - shifted).reshape(best.shape[0], _BLOCK, best.shape[1], -1)
        np.minimum(best, blocks.mean(axis=(1, 3)), out=best)
    return float(best.mean())


def _shifts(padded: _Thumbnail, height: int, width: int) -> Iterator[_Thumbnail]:
    windows = sliding_window_view(padded, (height, width), axis=(0, 1))
    for dy in range(2 * _REACH + 1):
        for dx in range(2 * _REACH + 1):
            yield windows[dy, dx].transpose(1, 2, 0)
