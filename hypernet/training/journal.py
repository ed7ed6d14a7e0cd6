"""The written record of a run: a CSV log, a plot of it, and sample reconstructions."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hypernet.decoders.spectrum import CLIP_FRAMES
from hypernet.errors import OutputNotWritable
from hypernet.training.config import OutputConfig
from hypernet.training.dataset import Batch
from hypernet.training.methods import Method, StepLosses

_MEASURES = ("psnr_db", "gradient_norm", "learning_rate", "seconds", "data_wait")


class Journal:
    """Averages losses over ``log_steps`` and appends one line each time.

    Raises:
        OutputNotWritable: the output folder cannot be made.
    """

    def __init__(self, output: OutputConfig, method: Method) -> None:
        self._folder = Path(output.folder)
        self._every = output.log_steps
        self._method = method
        self._losses = tuple(f.name for f in fields(method.losses_type))
        self._columns = ("step", *self._losses, *_MEASURES)
        self._sums = [0.0] * (len(self._losses) + 1)
        self._counted = 0
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputNotWritable(f"cannot make {self._folder}: {error}") from error

    @property
    def log(self) -> Path:
        """The CSV file."""
        return self._folder / "log.csv"

    def rewind(self, step: int) -> None:
        """Drop lines after ``step``, which a continued run will write again."""
        if not self.log.exists():
            return
        rows = [row for row in _read(self.log) if int(row[0]) <= step]
        _write(self.log, [self._columns, *rows])

    def record(
        self,
        *,
        step: int,
        losses: StepLosses,
        gradient_norm: float,
        learning_rate: float,
        seconds: float,
        data_wait: float,
    ) -> None:
        """Count one step; write a line when enough have been counted."""
        values = [float(getattr(losses, name).detach()) for name in self._losses]
        self._sums = [a + b for a, b in zip(self._sums, [*values, gradient_norm], strict=True)]
        self._counted += 1
        if step % self._every:
            return
        *means, norm = (value / self._counted for value in self._sums)
        self._sums, self._counted = [0.0] * len(self._sums), 0
        psnr = -10 * math.log10(max(means[self._losses.index("mse")], 1e-9))
        numbers = [*means, psnr, norm, learning_rate, seconds, data_wait]
        rows = _read(self.log) if self.log.exists() else []
        rows.append([str(step), *(f"{value:.6g}" for value in numbers)])
        _write(self.log, [self._columns, *rows])

    def sample(self, step: int, model: nn.Module, batch: Batch) -> None:
        """Source above reconstruction, first and last frame of the first clips, plus the curves."""
        device = next(model.parameters()).device
        frames = batch.frames[:6, 0].to(device).float() / 255
        with torch.no_grad():
            decoded = self._method.reconstruct(model, frames)
        rows = [
            torch.cat(list(video[:, moment]), dim=-1)
            for moment in (0, CLIP_FRAMES - 1)
            for video in (frames, decoded.clamp(0, 1))
        ]
        picture = (torch.cat(rows, dim=-2) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        write_png(self._folder / f"sample-{step:06d}.png", picture)
        self.plot()

    def plot(self) -> None:
        """Curves of the log as ``curves.png``; skipped where matplotlib is not installed."""
        try:
            from matplotlib.figure import Figure  # noqa: PLC0415 - an optional extra
        except ImportError:
            return
        rows = _read(self.log) if self.log.exists() else []
        if not rows:
            return
        table = np.array(rows, dtype=np.float64)
        figure = Figure(figsize=(9, 6), layout="tight")
        for place, name in enumerate(("psnr_db", self._losses[-2], "total", "gradient_norm")):
            axes = figure.add_subplot(2, 2, place + 1)
            axes.plot(table[:, 0], table[:, self._columns.index(name)])
            axes.set_title(name)
            axes.grid(visible=True)
        figure.savefig(self._folder / "curves.png")


def write_png(path: Path, picture_HWC: NDArray[np.uint8]) -> None:
    """Write an RGB picture.

    Raises:
        OutputNotWritable: the file cannot be written.
    """
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture_HWC), format="rgb24")
    try:
        with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
            stream = container.add_stream("png")
            stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "rgb24"
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                container.mux(packet)
    except (OSError, av.FFmpegError) as error:
        raise OutputNotWritable(f"cannot write {path}: {error}") from error


def _read(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return [row for row in csv.reader(file) if row and row[0] != "step"]


def _write(path: Path, rows: Sequence[Sequence[str]]) -> None:
    temporary = path.with_suffix(".partial")
    try:
        with temporary.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        temporary.replace(path)
    except OSError as error:
        raise OutputNotWritable(f"cannot write {path}: {error}") from error
