"""The prior learns again, from symbols as they are sent.

Symbols are collected once, of whole clips; steps of the prior alone then cost a tenth of a training
step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hypernet.decoders.integer_prior import IntegerPrior
from hypernet.decoders.spectrum import CLIP_FRAMES
from hypernet.errors import InvalidSettings
from hypernet.predictor.predicted import NearClip, PredictedClip
from hypernet.predictor.predictor import Predictor
from hypernet.predictor.weight_predictor import PredictedWeights
from hypernet.training.dataset import PairSampler, Sampling
from hypernet.training.frame_cache import FrameCache
from hypernet.training.losses import grid_bits
from hypernet.training.validation import decode

PAIRS_PER_STEP = 2
WARMUP_STEPS = 30
FEW_BITS = 2000.0
"""Clips of far more bits than this count alike, those of fewer count less."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorTuning:
    """How the prior of a trained model is tuned.

    Attributes:
        steps: of Adam, with two pairs of clips each.
        pairs: of clips that symbols are collected from.
        crop: side of these clips in pixels.
        learning_rate: of the first step after the warm-up; falls to zero.
    """

    steps: int = 3000
    pairs: int = 1200
    crop: int = 256
    learning_rate: float = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CodedClip:
    """What is sent of a clip's grid; mostly zeros, so only the others are kept.

    Attributes:
        step_index: quantisation step.
        gate: ``(1, rows, columns)``.
        channels: of the grid.
        places: ``(3, N)`` of the values that are not zero.
        values: ``(N,)``.
    """

    step_index: int
    gate: NDArray[np.int8]
    channels: int
    places: NDArray[np.int16]
    values: NDArray[np.int16]

    def grid(self) -> Tensor:
        """All symbols, ``(channels, rows, columns)`` float32."""
        grid = torch.zeros(self.channels, *self.gate.shape[1:])
        grid[tuple(torch.from_numpy(self.places.astype(np.int64)))] = torch.from_numpy(
            self.values.astype(np.float32)
        )
        return grid


CodedPair = tuple[CodedClip, CodedClip]
"""A key clip, and one that is coded against it."""


def coded_pairs(
    predictor: Predictor, cache: FrameCache, tuning: PriorTuning, seed: int
) -> list[CodedPair]:
    """What is sent of random pairs of clips, each at a quality of its own.

    Raises:
        InvalidSettings: no clip is as large as the crops.
    """
    clips = tuple(clip for clip in cache.clips if min(clip.height, clip.width) >= tuning.crop)
    if not clips:
        raise InvalidSettings(f"no training clip holds crops of {tuning.crop} pixels")
    sampling = Sampling(height=tuning.crop, width=tuning.crop)
    sampler = PairSampler(replace(cache, clips=clips), sampling=sampling, pairs=1, seed=seed)
    return [_coded_pair(predictor, sampler, number, seed) for number in range(tuning.pairs)]


def _coded_pair(predictor: Predictor, sampler: PairSampler, number: int, seed: int) -> CodedPair:
    batch = sampler.batch(number)
    quality = int(np.random.default_rng((seed, number)).integers(1, 101))
    key_frames, inter_frames = batch.frames[0]
    offset = float(batch.offset[0])
    key = predictor.predict(key_frames, quality)
    shown = decode(predictor.decode_file, key.weights(), key_frames, None)
    near = NearClip(
        picture=shown[CLIP_FRAMES - 1 if offset < 0 else 0], offset=offset, grid=key.symbols["grid"]
    )
    return _coded(key), _coded(predictor.predict(inter_frames, quality, near, depth=1))


def tune_prior(
    prior: IntegerPrior,
    pairs: Sequence[CodedPair],
    tuning: PriorTuning,
    seed: int,
    on_step: Callable[[int, float], None] = lambda _step, _bits: None,
) -> None:
    """Train a prior in place on what is sent; ``on_step`` is told the bits of each step."""
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.Adam(prior.parameters(), lr=tuning.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, tuning.steps))
    for step in range(tuning.steps):
        chosen = [pairs[index] for index in rng.choice(len(pairs), PAIRS_PER_STEP)]
        bits = torch.cat([_bits(prior, chosen, which) for which in range(2)])
        # Of each clip the relative saving counts, or large ones would be all that is learned.
        loss = (bits / (bits.detach() + FEW_BITS)).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        on_step(step, float(bits.detach().sum()))


def _rate(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / WARMUP_STEPS) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _coded(clip: PredictedClip) -> CodedClip:
    grid = clip.symbols["grid"]
    places = grid.nonzero()
    return CodedClip(
        step_index=clip.step_indices["grid"],
        gate=clip.symbols["gate"].astype(np.int8),
        channels=len(grid),
        places=np.stack(places).astype(np.int16),
        values=grid[places].astype(np.int16),
    )


def _bits(prior: IntegerPrior, pairs: Sequence[CodedPair], which: int) -> Tensor:
    """Bits of the key clips, or of the others, ``(pairs,)``."""
    clips = [pair[which] for pair in pairs]
    grid = torch.stack([clip.grid() for clip in clips])
    empty = grid.new_zeros(len(clips), 0)
    gate = torch.stack([torch.from_numpy(clip.gate).float() for clip in clips])
    steps = prior.config.step_weights(torch.tensor([clip.step_index for clip in clips]))
    before = torch.stack([pair[0].grid() for pair in pairs]) if which else None
    sent = PredictedWeights(motion=empty, sway=empty, gate=gate, grid=grid)
    return grid_bits(prior, steps, sent, before)
