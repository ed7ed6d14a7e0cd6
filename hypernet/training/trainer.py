"""The training loop of the predictor: deterministic by seed, resumable at any checkpoint.

Several processes, see ``processes``, train one model; only the first writes.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from hypernet.arithmetic import bfloat16_pays
from hypernet.errors import EncodeFailed, OutputNotWritable
from hypernet.training.checkpoint import Progress, load_average, load_checkpoint, save_checkpoint
from hypernet.training.config import TrainingConfig, load_config
from hypernet.training.dataset import Batch, PairSampler, Prefetcher
from hypernet.training.frame_cache import FrameCache, build_cache
from hypernet.training.journal import Journal
from hypernet.training.methods import Method, StepLosses, method_of
from hypernet.training.processes import Processes, joined
from hypernet.training.timm_import import (
    CosineLRScheduler,
    ModelEmaV3,
    create_optimizer_v2,
    dispatch_clip_grad,
)

_log = logging.getLogger(__name__)

CHECKPOINT_NAME = "checkpoint.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingResult:
    """How a run ended.

    Attributes:
        steps: steps done over all continuations.
        checkpoint: the file to continue from.
        data_wait_share: share of wall time spent waiting for batches.
        skipped: sources left out, with the reason.
    """

    steps: int
    checkpoint: Path
    data_wait_share: float
    skipped: tuple[tuple[str, str], ...]


def train(config_path: Path, resume: bool = False, stop_after: int | None = None) -> TrainingResult:
    """Train, or continue, the run that a configuration file describes.

    Args:
        config_path: TOML file, see ``TrainingConfig``.
        resume: as ``run_training``.
        stop_after: the same.

    Raises:
        InvalidSettings: bad configuration.
        HypernetError: as ``run_training``.
    """
    return run_training(load_config(config_path), resume, stop_after)


def run_training(
    config: TrainingConfig, resume: bool = False, stop_after: int | None = None
) -> TrainingResult:
    """Train, or continue, a run.

    Args:
        config: of the run.
        resume: continue from the checkpoint of the configuration's output folder.
        stop_after: leave after this many steps of the schedule, with a checkpoint.

    Raises:
        InvalidSettings: a checkpoint of another configuration.
        UnreadableInput: no usable training clip.
        EncodeFailed: the loss is not finite; the last good checkpoint is kept.
        OutputNotWritable: results cannot be written, or would overwrite an earlier run.
    """
    folder = Path(config.output.folder)
    checkpoint = folder / CHECKPOINT_NAME
    if checkpoint.exists() and not resume:
        raise OutputNotWritable(f"{checkpoint} exists: continue it with --resume, or move it away")
    # What shares gradients must be gone before the processes part, or its end waits for theirs.
    with joined() as processes:
        return _trained(config, checkpoint, processes, resume, stop_after)


def _trained(
    config: TrainingConfig,
    checkpoint: Path,
    processes: Processes,
    resume: bool,
    stop_after: int | None,
) -> TrainingResult:
    cache = _cache_of(config, processes)
    loop = _Loop(config, cache, checkpoint, processes)
    if resume:
        loop.restore()
    steps = config.schedule.steps
    share = loop.run(steps if stop_after is None else min(stop_after, steps))
    processes.wait()
    return TrainingResult(
        steps=loop.step, checkpoint=checkpoint, data_wait_share=share, skipped=cache.skipped
    )


def _cache_of(config: TrainingConfig, processes: Processes) -> FrameCache:
    """Decoded frames; the first process decodes them, the others find them."""
    if not processes.is_first:
        processes.wait()
    cache = build_cache(
        Path(config.data.train),
        Path(config.data.cache),
        max_frames=config.data.max_frames,
        min_side=config.data.crop,
        min_frames=16,
    )
    if processes.is_first:
        for name, reason in cache.skipped:
            _log.warning("skipped %s: %s", name, reason)
        _log.info("%d clips used, %d skipped", len(cache.clips), len(cache.skipped))
        processes.wait()
    return cache


class _Step(nn.Module):
    """From a batch to its losses, as one module whose gradients processes can share."""

    def __init__(self, model: nn.Module, method: Method) -> None:
        super().__init__()
        self.model, self._method = model, method

    def forward(self, batch: Batch, step: int, noise: torch.Generator) -> StepLosses:
        return self._method.losses(self.model, batch, step, noise)


class _Loop:
    """Model, average, optimiser and schedule of one run."""

    def __init__(
        self, config: TrainingConfig, cache: FrameCache, checkpoint: Path, processes: Processes
    ) -> None:
        self.config = config
        self.step = 0
        self._seconds = 0.0
        self._checkpoint = checkpoint
        self._processes, self._device = processes, processes.device
        data, schedule = config.data, config.schedule
        torch.manual_seed(config.seed)
        self._method = method_of(config)
        self.model = self._method.build().to(self._device)
        if schedule.start_from:
            load_average(Path(schedule.start_from), self.model, None)
        self.average = ModelEmaV3(
            self.model, decay=schedule.ema_decay, use_warmup=True, warmup_power=0.75
        )
        self._optimizer = create_optimizer_v2(
            self.model,
            opt=schedule.optimizer,
            lr=schedule.learning_rate,
            weight_decay=0.0,
            betas=(0.9, 0.98),
        )
        self._scheduler = CosineLRScheduler(
            self._optimizer,
            t_initial=schedule.steps,
            lr_min=schedule.learning_rate * 0.01,
            warmup_t=schedule.warmup_steps,
            warmup_lr_init=schedule.learning_rate * 0.02,
            t_in_epochs=False,
        )
        self._sampler = PairSampler(
            cache, sampling=self._method.sampling(), pairs=data.pairs, seed=config.seed
        )
        self._losses_of = processes.shared(_Step(self.model, self._method))
        self._journal = Journal(config.output, self._method)

    def restore(self) -> None:
        """Continue from the checkpoint."""
        progress = load_checkpoint(
            self._checkpoint,
            self.model,
            self.average.module,
            self._optimizer,
            self.config.fingerprint,
        )
        self.step, self._seconds = progress.step, progress.seconds
        self._journal.rewind(self.step)

    def run(self, last: int) -> float:
        """Train up to step ``last``; the share of time spent waiting for data."""
        begun = time.perf_counter() - self._seconds
        turns = [self._processes.turn(step) for step in range(self.step, last)]
        prefetcher = Prefetcher(self._sampler, turns)
        output = self.config.output
        first_step, waited = time.perf_counter(), 0.0
        try:
            for batch in prefetcher:
                losses, norm = self._train_step(batch)
                self._check(losses, norm)
                self.step += 1
                self._seconds = time.perf_counter() - begun
                waited = prefetcher.waited_seconds / (time.perf_counter() - first_step)
                if not self._processes.is_first:
                    continue
                self._journal.record(
                    step=self.step,
                    losses=losses,
                    gradient_norm=norm,
                    learning_rate=self._rate(),
                    seconds=self._seconds,
                    data_wait=waited,
                )
                if self.step % output.checkpoint_steps == 0:
                    self._save()
                if self.step % output.sample_steps == 0:
                    self._journal.sample(self.step, self.average.module, batch)
        finally:
            prefetcher.close()
        if self._processes.is_first:
            self._save()
        return waited

    def _train_step(self, batch: Batch) -> tuple[StepLosses, float]:
        config = self.config.schedule
        # Noise and qualities depend on the step alone: a resumed run repeats them exactly.
        noise = torch.Generator(self._device)
        noise.manual_seed(self.config.seed * 1_000_003 + self._processes.turn(self.step))
        self._scheduler.step_update(self.step)
        bfloat16 = config.bf16 and bfloat16_pays(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=bfloat16):
            losses: StepLosses = self._losses_of(batch, self.step, noise)
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(losses.total)
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = float(nn.utils.get_total_norm(gradients))
        if math.isfinite(norm):
            dispatch_clip_grad(self.model.parameters(), config.clip_norm)
            self._optimizer.step()
            self.average.update(self.model, self.step)
        return losses, norm

    def _check(self, losses: StepLosses, norm: float) -> None:
        if math.isfinite(norm):
            return
        kept = self._checkpoint if self._checkpoint.exists() else "none was written yet"
        raise EncodeFailed(
            f"training diverged at step {self.step}: loss {losses.total.item()}, gradient norm "
            f"{norm}; last good checkpoint: {kept}. Continue it with a lower learning rate"
        )

    def _rate(self) -> float:
        return float(self._optimizer.param_groups[0]["lr"])

    def _save(self) -> None:
        progress = Progress(
            step=self.step, seconds=self._seconds, fingerprint=self.config.fingerprint
        )
        save_checkpoint(
            self._checkpoint, self.model, self.average.module, self._optimizer, progress
        )
