"""Refinement of predicted weights: gradient steps on exactly what is sent.

A step asks the rendered frames in which direction the grid should move, goes there as far as the
step before proved safe, and takes the integers that cost least near that place under the learned
prior. The patterns of a grid are nearly orthonormal, so one such step is nearly a Newton step and
few are needed. What was there before is kept unless the decoded frames and the bits together are
better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hypernet.bitstream.steps import step_size
from hypernet.decoders.decode_file import DecodeFile
from hypernet.decoders.grid_costs import GridCosts
from hypernet.decoders.spectrum import CLIP_FRAMES
from hypernet.decoders.tubelet_layers import (
    ClipRenderer,
    ClipWeights,
    painted_planes,
    whole_cells,
)
from hypernet.predictor.predicted import NearClip, PredictedClip
from hypernet.predictor.weight_predictor import unit_price

FIRST_PACE = 0.5
"""Of a Newton step; motion makes neighbouring pixels share values, which steepens the error."""
SLOWER = 1 / 3


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipContext:
    """What a clip is refined against.

    Attributes:
        frames_TCHW: what it should show: RGB uint8.
        near: the clip that it departs from, None for a key clip.
    """

    frames_TCHW: Tensor
    near: NearClip | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Tried:
    """A grid, what it costs (squared error and bits in one), and where it should go instead."""

    grid: Tensor
    cost: float
    slope: Tensor


def refine_clip(
    start: PredictedClip,
    context: ClipContext,
    decode_file: DecodeFile,
    steps: int,
    should_stop: Callable[[], bool],
) -> tuple[PredictedClip, int]:
    """A clip that costs no more than ``start``, squared error and bits together.

    Args:
        start: what was predicted.
        context: of the clip.
        decode_file: of the stream.
        steps: gradient steps, at most.
        should_stop: asked before every step; true ends the refinement.

    Returns:
        The clip and the steps that were spent.
    """
    clip = _Clip(start, context, decode_file)
    best = clip.tried(torch.from_numpy(start.symbols["grid"]).to(clip.device).float()[None])
    pace, spent = FIRST_PACE, 0
    while spent < steps and not should_stop():
        spent += 1
        candidate = clip.tried(clip.cheapest(best, pace))
        if candidate.cost < best.cost:
            best = candidate
        else:
            pace *= SLOWER
    grid = best.grid[0].to(torch.int32).cpu().numpy()
    return replace(start, symbols={**start.symbols, "grid": grid}), spent


class _Clip:
    """The loss of one clip as a function of its grid."""

    def __init__(self, start: PredictedClip, context: ClipContext, decode_file: DecodeFile) -> None:
        self.device = context.frames_TCHW.device
        self._base = {n: kernel.to(self.device) for n, kernel in decode_file.base.items()}
        self._frames = whole_cells(context.frames_TCHW.float() / 255)
        self._step = step_size(start.step_indices["grid"])
        weights = {name: value.to(self.device)[None] for name, value in start.weights().items()}
        near = context.near
        self._weights = ClipWeights(
            motion=weights["motion"],
            sway=weights["sway"],
            gate=weights["gate"],
            tiles=weights["tiles"],
            grid=weights["grid"],
            reference=None if near is None else whole_cells(near.picture.clone()[None]),
        )
        self._costs = GridCosts(
            decode_file.prior.to(self.device),
            start.step_indices["grid"],
            weights["gate"],
            None if near is None else torch.from_numpy(near.grid).to(self.device).float()[None],
        )
        self._unit_price = unit_price(start.step_indices["grid"])

    def tried(self, grid_BCHW: Tensor) -> _Tried:
        """Render a grid of integers and see what it is worth."""
        grid = grid_BCHW.clone().requires_grad_()
        times = torch.arange(len(self._frames), dtype=torch.float32, device=self.device)
        weights = replace(self._weights, grid=grid * self._step)
        painted = painted_planes(self._base, weights)
        luma, chroma = (planes.detach().requires_grad_() for planes in painted)
        clip = ClipRenderer(self._base, weights, (luma, chroma))
        error = torch.zeros((), device=self.device)
        # One frame after the other: all at once would keep every layer of every frame.
        for time_1, frame in zip(torch.split(times, 1), self._frames, strict=True):
            part = (clip.frames(time_1[None])[0, 0].clamp(0, 1) - frame).square().sum()
            torch.autograd.backward(part)
            error = error + part.detach()
        torch.autograd.backward(painted, (luma.grad, chroma.grad))
        if grid.grad is None:
            raise ValueError("a clip has no frames")
        cost = self._unit_price / self._step**2 * float(error) + self._costs.bits(grid_BCHW)
        return _Tried(grid=grid_BCHW, cost=cost, slope=grid.grad)

    def cheapest(self, tried: _Tried, pace: float) -> Tensor:
        """Integers near where the slope leads."""
        missing = CLIP_FRAMES / len(self._frames)
        wanted = tried.grid - pace * missing * 0.5 * tried.slope / self._step**2
        return self._costs.cheapest(wanted, tried.grid, self._unit_price / missing)
