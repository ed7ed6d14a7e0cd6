"""How close two videos are: PSNR, MS-SSIM and VMAF, in constant memory.

PSNR is the mean over frames of ``10 log10(255^2 / MSE)`` on 8-bit RGB. One identical frame would
make that mean infinite, so a frame counts for at most 100 dB; only a clip whose frames are all
identical has an infinite PSNR (null in JSON). Luma is BT.709, full range, not rounded, for every
video alike, so that values can be compared across videos whatever matrix they are tagged with.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hypernet.errors import InvalidSettings, UnreadableInput
from hypernet.evaluation import vmaf

if TYPE_CHECKING:
    from torch import Tensor

Frame = NDArray[np.uint8]

#: A frame counts for at most this much in a mean, so that one identical frame does not decide it.
FRAME_PSNR_LIMIT_DB = 100.0

_PEAK_SQUARED = 255.0**2
_LUMA_BT709 = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
_GAUSSIAN_WINDOW = 11
_MS_SSIM_REDUCTION = 16  # the coarsest of the five scales


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Quality of a video against its reference.

    ``psnr_db`` and ``psnr_y_db`` are infinite when every frame is identical. ``ms_ssim`` is None
    for frames too small for it (shorter side of 32 pixels or less) or when it was not asked for;
    ``vmaf`` (0 to 100) is None without the extra ``quality`` or when it was not asked for.
    """

    psnr_db: float
    psnr_y_db: float
    ms_ssim: float | None
    vmaf: float | None
    frames: int

    def as_json(self) -> dict[str, float | int | None]:
        """The fields by name, with infinity as None."""
        return {name: None if value == math.inf else value for name, value in asdict(self).items()}


def ms_ssim(reference_HWC: Frame, decoded_HWC: Frame) -> float | None:
    """MS-SSIM of one RGB frame (five scales, 11-pixel Gaussian window), at most 1.

    A shorter side of 160 pixels or less takes the largest odd window that fits the coarsest scale;
    32 or less fits none: None.

    Raises:
        InvalidSettings: the extra ``bench`` is not installed.
    """
    window = ms_ssim_window(min(reference_HWC.shape[:2]))
    if window is None:
        return None
    try:
        import pytorch_msssim  # noqa: PLC0415 -- an optional extra
        import torch  # noqa: PLC0415 -- PSNR alone needs no torch
    except ImportError as error:
        raise InvalidSettings(
            "MS-SSIM needs an extra that is not installed: pip install 'nrv[bench]'"
        ) from error
    with torch.inference_mode():
        score = pytorch_msssim.ms_ssim(
            _channels(reference_HWC), _channels(decoded_HWC), data_range=255, win_size=window
        )
    return float(score)


def ms_ssim_window(shorter_side: int) -> int | None:
    """The Gaussian window for frames of this shorter side, in pixels; None if none fits."""
    largest = (shorter_side - 1) // _MS_SSIM_REDUCTION + 1
    window = min(_GAUSSIAN_WINDOW, largest - (largest + 1) % 2)
    return window if window >= 3 else None


class PsnrAccumulator:
    """Mean RGB and luma PSNR of frames that are seen one pair at a time."""

    def __init__(self) -> None:
        self.frames = 0
        self._rgb = _MeanPsnr()
        self._luma = _MeanPsnr()

    def add(self, reference_HWC: Frame, decoded_HWC: Frame) -> None:
        """Count one pair of 8-bit RGB frames of equal size."""
        self.frames += 1
        self._rgb.add(_rgb_mse(reference_HWC, decoded_HWC))
        self._luma.add(_luma_mse(reference_HWC, decoded_HWC))

    @property
    def psnr_db(self) -> float:
        """Mean over frames, RGB; see the module for identical frames."""
        return self._rgb.mean

    @property
    def psnr_y_db(self) -> float:
        """Mean over frames, luma; see the module for identical frames."""
        return self._luma.mean


def compare_videos(
    reference: Iterable[Frame],
    other: Iterable[Frame],
    *,
    ms_ssim_every: int = 1,
    with_vmaf: bool = True,
) -> Comparison:
    """Compare two videos frame by frame; holds one pair of frames at a time.

    Args:
        reference: 8-bit RGB frames (HWC).
        other: as many frames of the same size.
        ms_ssim_every: measure MS-SSIM on every k-th frame; 0 leaves it out (it is the slow part).
        with_vmaf: measure VMAF where the extra ``quality`` is installed.

    Raises:
        UnreadableInput: no frames, or different numbers or sizes of frames.
    """
    psnr, similarity = PsnrAccumulator(), list[float]()
    with ExitStack() as stack:
        scorer: vmaf.VmafScorer | None = None
        for number, (frame, decoded) in enumerate(_pairs(reference, other)):
            if number == 0 and with_vmaf and vmaf.available():
                scorer = stack.enter_context(vmaf.VmafScorer(*frame.shape[:2]))
            psnr.add(frame, decoded)
            if scorer is not None:
                scorer.add(frame, decoded)
            if ms_ssim_every and number % ms_ssim_every == 0:
                score = ms_ssim(frame, decoded)
                similarity += [] if score is None else [score]
        if psnr.frames == 0:
            raise UnreadableInput("there are no frames to compare")
        return Comparison(
            psnr_db=psnr.psnr_db,
            psnr_y_db=psnr.psnr_y_db,
            ms_ssim=float(np.mean(similarity)) if similarity else None,
            vmaf=scorer.score() if scorer is not None else None,
            frames=psnr.frames,
        )


def _pairs(reference: Iterable[Frame], other: Iterable[Frame]) -> Iterator[tuple[Frame, Frame]]:
    for number, (frame, decoded) in enumerate(zip_longest(reference, other)):
        if frame is None or decoded is None:
            longer, shorter = ("other", "reference") if frame is None else ("reference", "other")
            raise UnreadableInput(
                f"the {shorter} video ends after {number} frames and the {longer} goes on; "
                "only videos with the same frames can be compared"
            )
        if frame.shape != decoded.shape:
            raise UnreadableInput(
                f"frame {number} is {_size(frame)} in the reference and {_size(decoded)} in the "
                "other video; scale one of them first"
            )
        yield frame, decoded


class _MeanPsnr:
    """Running mean of per-frame PSNR; see the module for identical frames."""

    def __init__(self) -> None:
        self._sum_db = 0.0
        self._frames = 0
        self._all_identical = True

    def add(self, mse: float) -> None:
        self._frames += 1
        self._all_identical &= mse == 0
        psnr = 10 * math.log10(_PEAK_SQUARED / mse) if mse > 0 else FRAME_PSNR_LIMIT_DB
        self._sum_db += min(psnr, FRAME_PSNR_LIMIT_DB)

    @property
    def mean(self) -> float:
        return math.inf if self._all_identical else self._sum_db / self._frames


def _rgb_mse(reference_HWC: Frame, decoded_HWC: Frame) -> float:
    difference = np.subtract(reference_HWC, decoded_HWC, dtype=np.int32)
    return float(np.square(difference, out=difference).sum(dtype=np.int64) / difference.size)


def _luma_mse(reference_HWC: Frame, decoded_HWC: Frame) -> float:
    difference = np.subtract(reference_HWC, decoded_HWC, dtype=np.float32) @ _LUMA_BT709
    return float(np.square(difference, out=difference).mean(dtype=np.float64))


def _channels(frame_HWC: Frame) -> Tensor:
    import torch  # noqa: PLC0415 -- PSNR alone needs no torch

    # Not copied into planes: filters of single channels take half the time on interleaved ones.
    return torch.from_numpy(np.ascontiguousarray(frame_HWC)).permute(2, 0, 1)[None].float()


def _size(frame_HWC: Frame) -> str:
    return f"{frame_HWC.shape[1]}x{frame_HWC.shape[0]}"
