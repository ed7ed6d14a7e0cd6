"""Refinement of predicted weights: what is shown wrongly moves back to where it is sent.

The patterns of a grid are nearly orthonormal, so the spectrum of the errors, moved back along the
motion, says how far each value is off: a Newton step. The transform that predicted them knows the
way back only where motion is smooth; where things cover each other, or the picture leaves at the
border, several pixels show the same place, and their errors are averaged (as in SIRT, Gilbert
1972). Then come the integers that cost least near that place under the learned prior. What was
there before is kept unless the decoded frames and the bits together are better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hypernet.bitstream.steps import step_size
from hypernet.decoders.decode_file import DecodeFile
from hypernet.decoders.grid_costs import GridCosts
from hypernet.decoders.planes import planes_of
from hypernet.decoders.spectrum import CLIP_FRAMES, GRID_CELL
from hypernet.decoders.tubelet_layers import whole_cells
from hypernet.predictor.analysis import spectra_of
from hypernet.predictor.moving_back import WayBack
from hypernet.predictor.predicted import NearClip, PredictedClip
from hypernet.predictor.weight_predictor import PATIENCE, unit_price
from hypernet.weights import ClipShape

FIRST_PACE = 1.0
"""Of a Newton step."""
SLOWER = 1 / 2
"""After one that made it worse."""


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
    """A grid ``(1, C, rows, columns)`` and what it costs, squared error and bits in one."""

    grid: Tensor
    cost: float


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
        steps: at most.
        should_stop: asked before every step; true ends the refinement.

    Returns:
        The clip and the steps that were spent.
    """
    if not steps or should_stop():
        return start, 0
    clip = _Clip(start, context, decode_file)
    best = clip.tried(torch.from_numpy(start.symbols["grid"]).to(clip.device).float()[None])
    missing, pace, spent = clip.missing(best.grid), FIRST_PACE, 0
    while spent < steps and not should_stop():
        spent += 1
        candidate = clip.tried(clip.cheapest(best.grid + pace * missing, best.grid))
        if candidate.cost < best.cost:
            best = candidate
            missing = clip.missing(best.grid) if spent < steps else missing
        else:
            pace *= SLOWER
    grid = best.grid[0].to(torch.int32).cpu().numpy()
    return replace(start, symbols={**start.symbols, "grid": grid}), spent


class _Clip:
    """What the grid of one clip should be, and what it costs."""

    def __init__(self, start: PredictedClip, context: ClipContext, decode_file: DecodeFile) -> None:
        self.device = context.frames_TCHW.device
        self._frames = context.frames_TCHW
        count, _, *size = self._frames.shape
        height, width = self._size = tuple(side + -side % GRID_CELL for side in size)
        shape = ClipShape(frames=count, height=height, width=width)
        base = {name: kernel.to(self.device) for name, kernel in decode_file.base.items()}
        self._decoder = replace(decode_file, base=base).decoder(shape)
        step_index = start.step_indices["grid"]
        self._step = step_size(step_index)
        self._weights = {name: value.to(self.device) for name, value in start.weights().items()}
        near, before = context.near, None
        if near is not None:
            self._weights["reference"] = whole_cells(near.picture[None])[0]
            before = torch.from_numpy(near.grid).to(self.device).float()[None]
        self._way_back = WayBack(self._weights["motion"][:4], self._weights["sway"], height, width)
        prior = decode_file.prior.to(self.device)
        self._costs = GridCosts(prior, step_index, self._weights["gate"][None], before)
        self._price = PATIENCE * unit_price(step_index)
        self._times = torch.arange(count, dtype=torch.float32, device=self.device)

    def tried(self, grid_BCHW: Tensor) -> _Tried:
        """See what a grid of integers is worth."""
        error = sum(float(errors.square().sum()) for errors in self._errors(grid_BCHW))
        cost = self._price / self._step**2 * error + self._costs.bits(grid_BCHW)
        return _Tried(grid=grid_BCHW, cost=cost)

    def missing(self, grid_BCHW: Tensor) -> Tensor:
        """How far a grid is from what would show the frames, in its units."""
        count, (height, width) = len(self._frames), self._size
        luma = torch.zeros(1, CLIP_FRAMES, 1, height, width, device=self.device)
        chroma = luma.new_zeros(1, CLIP_FRAMES, 2, height // 2, width // 2)
        for time, errors in enumerate(self._errors(grid_BCHW)):
            luma[:, time], chroma[:, time] = self._way_back(planes_of(errors + 0.5), time)
        # Frames that are not there repeat the last.
        for planes in (luma, chroma):
            planes[:, count:] = planes[:, count - 1 : count]
        return spectra_of(luma, chroma, grid_BCHW.shape[1]) / self._step

    def cheapest(self, wanted_BCHW: Tensor, grid_BCHW: Tensor) -> Tensor:
        """Integers near wanted values; tables as for a grid near them."""
        return self._costs.cheapest(
            wanted_BCHW, grid_BCHW, self._price * len(self._frames) / CLIP_FRAMES
        )

    def _errors(self, grid_BCHW: Tensor) -> Iterator[Tensor]:
        """What each frame lacks, ``(1, 3, H, W)``; one after the other, for memory."""
        render = self._decoder.bind({**self._weights, "grid": grid_BCHW[0] * self._step})
        for time, frame in zip(torch.split(self._times, 1), self._frames, strict=True):
            yield whole_cells(frame[None].float().div_(255)) - render(time)
