"""A paper's own setting: NeRV on bunny as HNeRV's authors ran it (arXiv 2304.02633).

132 frames, 640x1280 cut from the middle of 720p, 0.75 M weights in float32, 300 epochs of batches
of two frames, squared error, Adam at 1e-3 with a cosine after a tenth of warm-up. Their figure is
28.46 dB. Meant for a GPU; a checkpoint after every epoch (safetensors), from which it goes on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hypernet.decoders.nerv import NervConfig, NervDecoder
from hypernet.decoders.sizing import num_weights
from hypernet.errors import InvalidSettings, OutputNotWritable
from hypernet.evaluation import provenance
from hypernet.evaluation.codecs import read_rgb
from hypernet.evaluation.run_table import RunTable
from hypernet.fitting import initial_weights
from hypernet.rate_distortion import decoded_quality
from hypernet.weights import ClipShape

LEARNING_RATE = 1e-3
WARMUP = 0.1  # of all steps
BATCH_FRAMES = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperSetting:
    """What is fitted, and for how long."""

    frames: int = 132
    height: int = 640
    width: int = 1280
    weights: int = 750_000
    epochs: int = 300
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperRow:
    """The network after some epochs, its weights in float32."""

    clip: str
    weights: int
    epochs: int
    psnr_db: float
    fit_seconds: float
    kilo_multiply_adds_per_pixel: float
    device: str
    commit: str


def paper_config(weights: int) -> NervConfig:
    """The widest NeRV of HNeRV's comparison with at most so many weights at 640x1280.

    Its first layer is one matrix there and two here, which for 160 hidden values is as large.
    """
    clip = ClipShape(frames=1, height=640, width=1280)
    best = _config(1)
    for stem_width in range(1, 512):
        candidate = _config(stem_width)
        if num_weights(NervDecoder(candidate, clip)) > weights:
            break
        best = candidate
    return best


def run_paper(
    *,
    clip: Path,
    out: Path,
    setting: PaperSetting | None = None,
    device: torch.device | None = None,
    report_every: int = 30,
    on_row: Callable[[PaperRow], None] = lambda _: None,
) -> Path:
    """Fit and write the table ``fit-paper.tsv``, a row every ``report_every`` epochs.

    An interrupted run goes on from ``fit-paper.safetensors`` beside the table.

    Raises:
        InvalidSettings: the clip is too short or small, or the files are of another run.
        UnreadableInput, OutputNotWritable: the clip, the files.
    """
    setting = setting or PaperSetting()
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    table = RunTable[PaperRow](out / "fit-paper.tsv", PaperRow)
    run = _PaperFit(_cropped(clip, setting), setting, device)
    checkpoint = out / "fit-paper.safetensors"
    run.load(checkpoint)
    while run.epoch < setting.epochs:
        run.advance()
        run.save(checkpoint)
        if run.epoch % report_every == 0 or run.epoch == setting.epochs:
            row = PaperRow(
                clip=clip.name,
                weights=num_weights(run.decoder),
                epochs=run.epoch,
                psnr_db=round(run.psnr_db(), 3),
                fit_seconds=round(run.seconds, 1),
                kilo_multiply_adds_per_pixel=round(run.decoder.multiply_adds_per_pixel() / 1000, 1),
                device=device.type,
                commit=provenance.commit(),
            )
            table.append(row)
            on_row(row)
    return table.path


class _PaperFit:
    def __init__(self, frames_TCHW: Tensor, setting: PaperSetting, device: torch.device) -> None:
        count, _, height, width = frames_TCHW.shape
        shape = ClipShape(frames=count, height=height, width=width)
        self.decoder = NervDecoder(paper_config(setting.weights), shape)
        self.setting, self.epoch, self.seconds = setting, 0, 0.0
        self.frames = frames_TCHW.to(device)
        start = initial_weights(self.decoder.weight_specs(), setting.seed, frames_TCHW)
        self.weights = {n: value.to(device).requires_grad_() for n, value in start.items()}
        self.optimizer = torch.optim.Adam(self.weights.values(), lr=LEARNING_RATE)
        self.steps_per_epoch = -(-count // BATCH_FRAMES)

    def advance(self) -> None:
        """One epoch; frames are shuffled by its number, so that it does not matter who resumes."""
        started = time.monotonic()
        generator = torch.Generator().manual_seed(self.setting.seed + self.epoch)
        order = torch.randperm(len(self.frames), generator=generator)
        batches = torch.split(order.to(self.frames.device), BATCH_FRAMES)
        for number, index_N in enumerate(batches):
            fraction = (self.epoch + number / self.steps_per_epoch) / self.setting.epochs
            self.optimizer.param_groups[0]["lr"] = LEARNING_RATE * _learning_scale(fraction)
            rendered = self.decoder.render(self.weights, index_N.float())
            loss = F.mse_loss(rendered, self.frames[index_N].float() / 255)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        self.epoch += 1
        self.seconds += time.monotonic() - started

    def psnr_db(self) -> float:
        detached = {name: value.detach() for name, value in self.weights.items()}
        return decoded_quality(self.decoder, detached, self.frames).psnr_db

    def save(self, path: Path) -> None:
        """Weights and moments, replacing the checkpoint before."""
        tensors = {f"weight:{name}": value.detach() for name, value in self.weights.items()}
        for name, value in self.weights.items():
            state = self.optimizer.state[value]
            tensors[f"mean:{name}"] = state["exp_avg"]
            tensors[f"square:{name}"] = state["exp_avg_sq"]
        facts = {"epoch": str(self.epoch), "seconds": str(self.seconds), "setting": self._key()}
        partial = path.with_suffix(".partial")
        try:
            save_file({n: t.contiguous() for n, t in tensors.items()}, partial, metadata=facts)
            partial.replace(path)
        except (OSError, SafetensorError) as error:
            raise OutputNotWritable(f"cannot write {path}: {error}") from error

    def load(self, path: Path) -> None:
        """Go on from a checkpoint if there is one."""
        if not path.exists():
            return
        device = str(self.frames.device)
        try:
            with safe_open(path, framework="pt", device=device) as file:
                facts = file.metadata()
                if facts.get("setting") != self._key():
                    raise InvalidSettings(f"{path} is of another run; choose another --out")
                self.epoch, self.seconds = int(facts["epoch"]), float(facts["seconds"])
                for name, value in self.weights.items():
                    value.data.copy_(file.get_tensor(f"weight:{name}"))
                    self.optimizer.state[value] = {
                        "step": torch.tensor(float(self.epoch * self.steps_per_epoch)),
                        "exp_avg": file.get_tensor(f"mean:{name}"),
                        "exp_avg_sq": file.get_tensor(f"square:{name}"),
                    }
        except SafetensorError as error:
            raise InvalidSettings(f"{path} is damaged: {error}; remove it to start over") from error

    def _key(self) -> str:
        return f"{self.setting} {provenance.commit()}"


def _config(stem_width: int) -> NervConfig:
    widths = [stem_width]
    for _ in range(4):
        widths.append(max(round(widths[-1] / 2), 12))
    return NervConfig(
        frequencies=80,
        hidden=160,
        widths=tuple(widths),
        strides=(5, 4, 2, 2),
        head_kernel=3,
        head_stride=1,
    )


def _learning_scale(fraction: float) -> float:
    warmup = min(1.0, fraction / WARMUP) if fraction < WARMUP else 1.0
    return max(warmup, 0.1) * 0.5 * (1 + math.cos(math.pi * fraction))


def _cropped(clip: Path, setting: PaperSetting) -> Tensor:
    frames = []
    for frame in islice(read_rgb(clip), setting.frames):
        top, left = (frame.shape[0] - setting.height) // 2, (frame.shape[1] - setting.width) // 2
        if min(top, left) < 0:
            raise InvalidSettings(
                f"{clip} is smaller than {setting.width}x{setting.height}, the paper's crop"
            )
        frames.append(frame[top : top + setting.height, left : left + setting.width])
    if len(frames) < setting.frames:
        raise InvalidSettings(f"{clip} has {len(frames)} frames, the paper's has {setting.frames}")
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
