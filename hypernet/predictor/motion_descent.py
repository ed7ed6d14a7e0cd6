"""Motion improved by gradient steps, from coarse pictures to fine ones.

What is left after moving is measured on pictures of a sixteenth of the frame's size first, where a
square sees far and a step leads far, then on larger ones. Coarse pictures may lead a square astray
where things cover each other; it returns to where it began unless it clearly gained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernet.decoders.warp import MOTION_CELL, halved, moved_points, sample_at
from hypernet.predictor.alignment_gradient import AlignmentGradient
from hypernet.predictor.native_analysis import NativeAlignment, can_align

SQUARE = MOTION_CELL // 2
"""Half-size pixels along each side of the squares that have one displacement."""
MIN_GAIN = 0.1
"""Share of the error that motion must remove to be worth sending."""
_ROUGHNESS = 0.5
"""What a pixel of difference between neighbouring squares costs, as an error of one pixel."""
_FOLDING = 6.0
"""Half-size pixels of difference that cost twice as much: fields that fold cannot be undone."""
_MEMORY = (0.7, 0.9)
"""What Adam keeps of the mean and of the square of slopes: rates are set before each step."""
_LEAST_SIDE = 16
"""Pixels along the shorter side of pictures that are worth a level of their own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Level:
    """Steps on pictures that are ``2 ** shrink`` times smaller than half-size ones.

    Attributes:
        shrink: how often their pictures are halved.
        steps: for each step that is asked for.
        rate: of the first step, in pixels of this level; falls to ``last_rate``.
        last_rate: of the last step.
        checked: whether squares return to the start unless they gained.
    """

    shrink: int
    steps: int
    rate: float
    last_rate: float
    checked: bool


_LEVELS = (
    _Level(shrink=3, steps=3, rate=0.5, last_rate=0.1, checked=False),
    _Level(shrink=2, steps=3, rate=0.5, last_rate=0.1, checked=True),
    _Level(shrink=1, steps=2, rate=0.2, last_rate=0.05, checked=True),
    _Level(shrink=0, steps=1, rate=0.2, last_rate=0.03, checked=False),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Alignment:
    """Pictures that motion shall line up.

    Attributes:
        pictures: ``(B, T, H, W)`` luma at half size, 0 to 1.
        basis: ``(K, T)``: how far each pair of channels of the motion has moved each picture.
        target: ``(B, 1, H, W)``, what the pictures should look like then; their mean without one.
    """

    pictures: Tensor
    basis: Tensor
    target: Tensor | None = None

    def moved(self, motion_BChw: Tensor, shrink: int = 0) -> tuple[Tensor, Tensor]:
        """Moved pictures and what they should look like, both ``(B, T, H, W)``.

        Args:
            motion_BChw: in pixels of the pictures.
            shrink: how many times they have been halved since they had half the frame's size.
        """
        # Points count full-size pixels, those of a square stay what they are.
        parts = torch.unflatten(motion_BChw, 1, (-1, 2)) * (2 << shrink)
        by_time = torch.einsum("kt,bkcyx->btcyx", self.basis, parts).flatten(0, 1)
        height, width = self.pictures.shape[-2:]
        points = moved_points(by_time, height, width, SQUARE >> shrink)
        moved = sample_at(self.pictures.flatten(0, 1)[:, None], points).view(self.pictures.shape)
        target = moved.mean(1, keepdim=True) if self.target is None else self.target
        return moved, target.expand_as(moved)

    def shrunk(self, shrink: int) -> Alignment:
        """The same at ``1 / 2 ** shrink`` of the size."""
        target = None if self.target is None else _shrunk(self.target, shrink)
        return Alignment(pictures=_shrunk(self.pictures, shrink), basis=self.basis, target=target)


def descended(alignment: Alignment, start_BChw: Tensor, steps: int) -> Tensor:
    """Motion improved by gradient steps on what is left after moving, and on its roughness.

    Args:
        alignment: pictures at half size.
        start_BChw: two channels per row of the basis, in half-size pixels.
        steps: of Adam on half-size pictures; more on smaller ones, where they are cheap.
    """
    motion, least_side = start_BChw, min(alignment.pictures.shape[-2:])
    for level in _LEVELS:
        if level.shrink and least_side < _LEAST_SIDE << level.shrink:
            continue
        motion = _descended_at(level, alignment, motion, level.steps * steps)
        if level.checked:
            motion = worthwhile(alignment, [start_BChw, motion])
    return motion


def worthwhile(alignment: Alignment, candidates: Sequence[Tensor]) -> Tensor:
    """For every square the candidate with the least error; the first unless clearly beaten."""
    best, *others = candidates
    least = _error_of_squares(alignment, best) * (1 - MIN_GAIN)
    for other in others:
        error = _error_of_squares(alignment, other)
        better = error < least
        best = torch.where(better, other, best)
        least = torch.where(better, error, least)
    return best


def smooth(x_BCHW: Tensor) -> Tensor:
    """Each value mixed with its neighbours."""
    line = torch.tensor([0.25, 0.5, 0.25], device=x_BCHW.device)
    channels = x_BCHW.shape[1]
    kernel = (line[:, None] * line).expand(channels, 1, 3, 3)
    return F.conv2d(F.pad(x_BCHW, (1, 1, 1, 1), mode="replicate"), kernel, groups=channels)


def _descended_at(level: _Level, alignment: Alignment, start_BChw: Tensor, steps: int) -> Tensor:
    small = alignment.shrunk(level.shrink)
    slope = AlignmentGradient(
        small.pictures,
        small.basis,
        small.target,
        cell=SQUARE >> level.shrink,
        roughness=_ROUGHNESS / 2 ** (level.shrink / 2),
        fold=_FOLDING / (1 << level.shrink),
    )
    motion = start_BChw / (1 << level.shrink)
    adam = _Adam(motion)
    for step in range(steps):
        share = step / max(1, steps - 1)
        rate = level.rate * (level.last_rate / level.rate) ** share
        adam.step(motion, slope(motion), rate)
    return motion * (1 << level.shrink)


class _Adam:
    """Adam for one tensor; that of torch would import its compiler."""

    def __init__(self, values: Tensor) -> None:
        self._mean, self._square = torch.zeros_like(values), torch.zeros_like(values)
        self._steps = 0

    def step(self, values: Tensor, slope: Tensor, rate: float) -> None:
        """Change the values in place."""
        self._steps += 1
        for_mean, for_square = _MEMORY
        self._mean.lerp_(slope, 1 - for_mean)
        self._square.mul_(for_square).addcmul_(slope, slope, value=1 - for_square)
        usual = self._square.sqrt().div_(math.sqrt(1 - for_square**self._steps)).add_(1e-8)
        values.addcdiv_(self._mean, usual, value=-rate / (1 - for_mean**self._steps))


def _shrunk(pictures_BTHW: Tensor, shrink: int) -> Tensor:
    for _ in range(shrink):
        pictures_BTHW = halved(pictures_BTHW)
    return pictures_BTHW


def _error_of_squares(alignment: Alignment, motion_BChw: Tensor) -> Tensor:
    if can_align(alignment.pictures):
        pictures, basis, target = alignment.pictures, alignment.basis, alignment.target
        return smooth(NativeAlignment(pictures, basis, target, cell=SQUARE).errors(motion_BChw))
    moved, target = alignment.moved(motion_BChw)
    error = (moved - target).abs_().mean(1, keepdim=True)
    return smooth(F.avg_pool2d(error, SQUARE, ceil_mode=True))
