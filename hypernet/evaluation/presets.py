"""Our own presets, as codecs to measure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from hypernet.codec import encode_file
from hypernet.decoding import open_stream
from hypernet.evaluation.codecs import EncodeStats, stats_since
from hypernet.evaluation.metrics import Frame
from hypernet.plan import EncodeSettings

DEFAULT_QUALITIES = (20, 40, 60, 80)


@dataclass(frozen=True, kw_only=True, slots=True)
class PresetCodec:
    """A preset with the bounds it is run under; its quality is ``--quality``, 1 to 100.

    ``steps`` caps gradient steps per segment and ``budget_seconds`` the wall time of one encoding;
    None leaves the preset's own. Both are part of the name, because they change the result.
    """

    preset: str
    qualities: tuple[int, ...] = DEFAULT_QUALITIES
    steps: int | None = None
    budget_seconds: float | None = None
    seed: int = 0
    device: str = "auto"
    suffix: str = field(default=".nrv", init=False)

    @property
    def name(self) -> str:
        """The preset, with its bounds where they are set: ``nerv-s@60s``."""
        steps = "" if self.steps is None else f"@{self.steps}steps"
        budget = "" if self.budget_seconds is None else f"@{self.budget_seconds:g}s"
        return f"{self.preset}{steps}{budget}"

    @property
    def threads(self) -> int:
        """Threads that torch computes with."""
        return torch.get_num_threads()

    def encode(self, source: Path, output: Path, quality: int) -> EncodeStats:
        """Encode as ``nrv encode`` does, verifying decode included."""
        settings = EncodeSettings(
            preset=self.preset,
            quality=quality,
            steps=self.steps,
            budget_seconds=self.budget_seconds,
            seed=self.seed,
            device=self.device,
        )
        start = time.perf_counter()
        result = encode_file(source, output, settings)
        return stats_since(start, output, result.device)

    def decode(self, path: Path) -> Iterator[Frame]:
        """The frames of the stream, from its bytes alone."""
        with open_stream(path) as stream:
            for frame in stream.frames():
                yield frame.rgb_HWC
