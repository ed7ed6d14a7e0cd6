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

from hypernet.decoders.clip_motion import sway_interpolation, swaying_squares, sways
from hypernet.decoders.warp import MOTION_CELL, halved, moved_points, sample_at
from hypernet.predictor.alignment_gradient import alignment_errors, slope_of_roughness
from hypernet.predictor.native_analysis import NativeAlignment, can_align

SQUARE = MOTION_CELL // 2
"""Half-size pixels along each side of the squares that have one displacement."""
MIN_GAIN = 0.1
"""Share of the error that motion must remove to be worth sending."""
_ROUGHNESS = 0.5
"""What a pixel of difference between neighbouring squares costs, as an error of one pixel."""
_FOLDING = 6.0
"""Half-size pixels of difference that cost twice as much: fields that fold cannot be undone."""
_SWAY_ROUGHNESS = 3.0
"""How much more a difference between neighbours costs there: few squares say much."""
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
        sways: whether the sway is improved, too; on the smallest pictures it would follow what is
            the squares' own.
    """

    shrink: int
    steps: int
    rate: float
    last_rate: float
    checked: bool
    sways: bool = True


_LEVELS = (
    _Level(shrink=3, steps=3, rate=0.5, last_rate=0.1, checked=False, sways=False),
    _Level(shrink=2, steps=3, rate=0.5, last_rate=0.1, checked=True),
    _Level(shrink=1, steps=2, rate=0.2, last_rate=0.05, checked=True),
    _Level(shrink=0, steps=1, rate=0.2, last_rate=0.03, checked=False),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Motion:
    """What moves pictures, in their pixels.

    Attributes:
        squares: ``(B, 2 * K, h, w)``, x and y for each row of the alignment's basis.
        sway: ``(B, 2 * SWAYS, ...)`` of ``clip_motion``; None where nothing may sway.
    """

    squares: Tensor
    sway: Tensor | None = None

    def scaled(self, factor: float) -> Motion:
        """For pictures that are so many times as large."""
        sway = None if self.sway is None else self.sway * factor
        return Motion(squares=self.squares * factor, sway=sway)


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

    def by_time(self, motion: Motion) -> Tensor:
        """Displacement of each square of each picture: ``(B, T, 2, h, w)``."""
        size = motion.squares.shape[2:]
        moved = _combined(self.basis.T, motion.squares)
        if motion.sway is not None:
            moved += _combined(sways().to(moved), swaying_squares(motion.sway, *size))
        return moved

    def slope_of_squares(self, slope_BT2hw: Tensor) -> Tensor:
        """Of the squares of a motion, from those of ``by_time``."""
        return _combined(self.basis, slope_BT2hw.flatten(1, 2)).flatten(1, 2)

    def moved(self, motion: Motion, shrink: int = 0) -> tuple[Tensor, Tensor]:
        """Moved pictures and what they should look like, both ``(B, T, H, W)``.

        Args:
            motion: in pixels of the pictures.
            shrink: how many times they have been halved since they had half the frame's size.
        """
        # Points count full-size pixels, those of a square stay what they are.
        by_time = self.by_time(motion).flatten(0, 1) * (2 << shrink)
        height, width = self.pictures.shape[-2:]
        points = moved_points(by_time, height, width, SQUARE >> shrink)
        moved = sample_at(self.pictures.flatten(0, 1)[:, None], points).view(self.pictures.shape)
        target = moved.mean(1, keepdim=True) if self.target is None else self.target
        return moved, target.expand_as(moved)

    def shrunk(self, shrink: int) -> Alignment:
        """The same at ``1 / 2 ** shrink`` of the size."""
        target = None if self.target is None else _shrunk(self.target, shrink)
        return Alignment(pictures=_shrunk(self.pictures, shrink), basis=self.basis, target=target)


def descended(alignment: Alignment, start: Motion, steps: int) -> Motion:
    """Motion improved by gradient steps on what is left after moving, and on its roughness.

    Args:
        alignment: pictures at half size.
        start: in half-size pixels.
        steps: of Adam on half-size pictures; more on smaller ones, where they are cheap.
    """
    motion, least_side = start, min(alignment.pictures.shape[-2:])
    for level in _LEVELS:
        if level.shrink and least_side < _LEAST_SIDE << level.shrink:
            continue
        motion = _descended_at(level, alignment, motion, level.steps * steps)
        if level.checked:
            squares = worthwhile(alignment, [start.squares, motion.squares], motion.sway)
            motion = Motion(squares=squares, sway=motion.sway)
    return motion


def worthwhile(
    alignment: Alignment, candidates: Sequence[Tensor], sway: Tensor | None = None
) -> Tensor:
    """For every square the candidate with the least error; the first unless clearly beaten."""
    best, *others = candidates
    least = error_of_squares(alignment, Motion(squares=best, sway=sway)) * (1 - MIN_GAIN)
    for other in others:
        error = error_of_squares(alignment, Motion(squares=other, sway=sway))
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


def _descended_at(level: _Level, alignment: Alignment, start: Motion, steps: int) -> Motion:
    small, motion = alignment.shrunk(level.shrink), start.scaled(1 / (1 << level.shrink))
    errors = alignment_errors(small.pictures, small.target, cell=SQUARE >> level.shrink)
    # Of means, as Adam takes little notice of slopes that are next to nothing.
    moments, height, width = small.pictures.shape[1:]
    roughness = _ROUGHNESS / 2 ** (level.shrink / 2) / (height * width)
    fold = _FOLDING / (1 << level.shrink)
    for_squares = _Adam(motion.squares)
    for_sway = _Adam(motion.sway) if motion.sway is not None and level.sways else None
    for step in range(steps):
        share = step / max(1, steps - 1)
        rate = level.rate * (level.last_rate / level.rate) ** share
        by_time = errors.slopes(small.by_time(motion)).div_(moments * height * width)
        slope = small.slope_of_squares(by_time)
        for_squares.step(
            slope.add_(slope_of_roughness(motion.squares, fold), alpha=roughness), rate
        )
        if for_sway is not None:
            slope = _slope_of_sway(for_sway.values, by_time)
            rough = slope_of_roughness(for_sway.values, fold)
            for_sway.step(slope.add_(rough, alpha=_SWAY_ROUGHNESS * roughness), rate)
    return motion.scaled(1 << level.shrink)


def _slope_of_sway(sway: Tensor, slope_BT2hw: Tensor) -> Tensor:
    """Of the values of a sway, from those of ``Alignment.by_time``."""
    down, across = sway_interpolation(sway, *slope_BT2hw.shape[3:])
    swaying = _combined(sways().to(down).T, slope_BT2hw.flatten(1, 2)).flatten(1, 2)
    return down.T @ swaying @ across


def _combined(shares_OI: Tensor, pairs_BChw: Tensor) -> Tensor:
    """Sums of pairs of channels: ``(B, O, 2, h, w)``."""
    parts = torch.unflatten(pairs_BChw, 1, (-1, 2))
    sums = torch.matmul(shares_OI, parts.flatten(2))
    return sums.view(len(parts), -1, *parts.shape[2:])


class _Adam:
    """Adam for one tensor; that of torch would import its compiler."""

    def __init__(self, values: Tensor) -> None:
        self.values = values
        self._mean, self._square = torch.zeros_like(values), torch.zeros_like(values)
        self._steps = 0

    def step(self, slope: Tensor, rate: float) -> None:
        """Change the values in place."""
        self._steps += 1
        for_mean, for_square = _MEMORY
        self._mean.lerp_(slope, 1 - for_mean)
        self._square.mul_(for_square).addcmul_(slope, slope, value=1 - for_square)
        usual = self._square.sqrt().div_(math.sqrt(1 - for_square**self._steps)).add_(1e-8)
        self.values.addcdiv_(self._mean, usual, value=-rate / (1 - for_mean**self._steps))


def _shrunk(pictures_BTHW: Tensor, shrink: int) -> Tensor:
    for _ in range(shrink):
        pictures_BTHW = halved(pictures_BTHW)
    return pictures_BTHW


def error_of_squares(alignment: Alignment, motion: Motion) -> Tensor:
    """Mean absolute error around each square: ``(B, 1, h, w)``."""
    if can_align(alignment.pictures):
        native = NativeAlignment(alignment.pictures, alignment.target, cell=SQUARE)
        return smooth(native.errors(alignment.by_time(motion)))
    moved, target = alignment.moved(motion)
    error = (moved - target).abs_().mean(1, keepdim=True)
    return smooth(F.avg_pool2d(error, SQUARE, ceil_mode=True))
