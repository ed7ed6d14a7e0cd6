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
from hypernet.decoders.planes import Planes, planes_of
from hypernet.decoders.spectrum import CLIP_FRAMES, GRID_CELL
from hypernet.decoders.tubelet_layers import whole_cells
from hypernet.predictor.analysis import spectra_of
from hypernet.predictor.moving_back import WayBack
from hypernet.predictor.predicted import NearClip, PredictedClip
from hypernet.predictor.weight_predictor import unit_price
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
    """A grid, what it costs, and how far it is from what would show the frames.

    Attributes:
        grid: ``(1, C, rows, columns)``, integers.
        cost: squared error and bits in one, in bits.
        missing: as the grid, in its units; None of a grid that is not improved any more.
    """

    grid: Tensor
    cost: float
    missing: Tensor | None


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
    pace, spent = FIRST_PACE, 0
    while spent < steps and best.missing is not None and not should_stop():
        spent += 1
        wanted = best.grid + pace * best.missing
        candidate = clip.tried(clip.cheapest(wanted, best.grid), is_last=spent == steps)
        if candidate.cost < best.cost:
            best = candidate
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
        height, width = (side + -side % GRID_CELL for side in size)
        shape = ClipShape(frames=count, height=height, width=width)
        base = {name: kernel.to(self.device) for name, kernel in decode_file.base.items()}
        self._decoder = replace(decode_file, base=base).decoder(shape)
        self._channels = len(start.symbols["grid"])
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
        self._price = unit_price(step_index)
        self._times = torch.arange(count, dtype=torch.float32, device=self.device)

    def tried(self, grid_BCHW: Tensor, *, is_last: bool = False) -> _Tried:
        """See what a grid of integers is worth, and what it lacks unless it is the last."""
        squared = 0.0
        moved_back = []
        for time, errors in enumerate(self._errors(grid_BCHW)):
            squared += float(errors.square().sum())
            if not is_last:
                # Planes count from mid-grey, and so shall errors.
                moved_back.append(self._way_back(planes_of(errors + 0.5), time))
        cost = self._price / self._step**2 * squared + self._costs.bits(grid_BCHW)
        missing = None if is_last else self._spectra(moved_back)
        return _Tried(grid=grid_BCHW, cost=cost, missing=missing)

    def _spectra(self, frames: list[Planes]) -> Tensor:
        """Of the planes of all frames, in units of the grid."""
        # Frames that are not there repeat the last.
        whole = frames + frames[-1:] * (CLIP_FRAMES - len(frames))
        luma, chroma = (torch.stack(planes, 1) for planes in zip(*whole, strict=True))
        return spectra_of(luma, chroma, self._channels) / self._step

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
