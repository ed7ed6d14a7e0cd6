"""The codecs to compare with: x264, x265 and SVT-AV1 through PyAV, as whole MP4 files.

Conditions: RGB frames converted to 4:2:0 by swscale (BT.601, limited range, untagged), constant
rate factor, two threads, every other setting the encoder's default. x264 cuts each frame into one
slice per thread (PyAV's default), which costs it 2 to 3 % of bytes at 854x480 and up to 8 % at
416x240 against frame threading; its sizes also depend on timing, rarely by more than 1 %. x265 and
SVT-AV1 give the same bytes every time.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from hypernet.evaluation.codecs import EncodeStats, read_rgb, stats_since
from hypernet.evaluation.encoders import EncoderSettings, write_video
from hypernet.evaluation.metrics import Frame
from hypernet.video.probe import probe

_THREADS = 2
_ASSUMED_RATE = Fraction(25)


@dataclass(frozen=True, kw_only=True, slots=True)
class Anchor:
    """A conventional encoder; its quality is the constant rate factor, higher is worse."""

    name: str
    settings: EncoderSettings
    qualities: tuple[int, ...]
    suffix: str = field(default=".mp4", init=False)
    threads: int = field(default=_THREADS, init=False)

    def encode(self, source: Path, output: Path, quality: int) -> EncodeStats:
        """Encode with this CRF; odd sizes are refused by 4:2:0 (EncodeFailed)."""
        os.environ.setdefault("SVT_LOG", "1")  # errors only; it writes past every logger
        start = time.perf_counter()
        with _same_priority():
            write_video(read_rgb(source), output, frame_rate(source), self.at(quality))
        return stats_since(start, output)

    def decode(self, path: Path) -> Iterator[Frame]:
        """The frames as any player's decoder gives them."""
        return read_rgb(path)

    def at(self, quality: int) -> EncoderSettings:
        """The encoder's settings for one CRF."""
        options = {**self.settings.options, "crf": str(quality)}
        return dataclasses.replace(self.settings, options=options)


@contextmanager
def _same_priority() -> Iterator[None]:
    """SVT-AV1, run as root, leaves its caller in real-time scheduling, ahead of all others."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def frame_rate(source: Path) -> Fraction:
    """Average frames per second; 25 where the file does not say."""
    return probe(source).frame_rate or _ASSUMED_RATE


def _mp4(encoder: str, **options: str) -> EncoderSettings:
    names = {name.replace("_", "-"): value for name, value in options.items()}
    return EncoderSettings(
        encoder=encoder,
        pixel_format="yuv420p",
        container="mp4",
        threads=_THREADS,
        options=names,
    )


def _x264(preset: str) -> EncoderSettings:
    # Without the asynchronous look-ahead, sizes depend less on timing.
    return _mp4("libx264", preset=preset, x264_params="sync-lookahead=0")


_CRF_51 = (18, 23, 28, 33, 38, 43, 47, 51)

X264_VERYFAST = Anchor(name="x264-veryfast", settings=_x264("veryfast"), qualities=_CRF_51)
X264_MEDIUM = Anchor(name="x264-medium", settings=_x264("medium"), qualities=_CRF_51)
X265_MEDIUM = Anchor(
    name="x265-medium",
    settings=_mp4("libx265", preset="medium", x265_params="log-level=none:frame-threads=1"),
    qualities=_CRF_51,
)
SVT_AV1 = Anchor(
    name="svtav1-8",
    settings=_mp4("libsvtav1", preset="8", svtav1_params="lp=2"),
    qualities=(20, 30, 40, 50, 55, 60, 63),
)

ANCHORS = (X264_VERYFAST, X264_MEDIUM, X265_MEDIUM, SVT_AV1)
