"""The layers of the tubelet decoder; one home for rendering, training and prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernet.decoders.clip_motion import motion_at, share_of_frames
from hypernet.decoders.lapped import lapped, unlapped
from hypernet.decoders.planes import Planes, planes_of, rgb_of
from hypernet.decoders.spectrum import (
    CHROMA_CELL,
    CLIP_FRAMES,
    GRID_CELL,
    SpectrumPart,
    spectrum,
    used_channels,
)
from hypernet.decoders.warp import (
    MOTION_CELL,
    moved_points,
    sample_at,
)

_CELLS_AT_ONCE = 2048
"""Grid cells that are painted together: fewer are not worth the calls."""
KERNEL_SCALE = 1 / 16
"""Of the painting kernels, so that stored values and their updates are near one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipWeights:
    """Weights of a batch of clips, and the pictures that they depart from.

    Attributes:
        motion: ``(B, 6, h, w)`` per 32-pixel square, x and y in pixels: what moves evenly and what
            bends, both of the last frame against the middle of the clip (see ``motion_at``), then
            the displacement of the reference picture.
        sway: ``(B, 2 * SWAYS, ...)`` per 128-pixel square, in pixels.
        gate: ``(B, 1, rows, cols)`` per cell: 0 departs from the reference, 1 from mid-grey.
        grid: ``(B, grid_channels, rows, cols)``.
        reference: ``(B, 3, rows * 16, cols * 16)`` RGB, None for key clips.
    """

    motion: Tensor
    sway: Tensor
    gate: Tensor
    grid: Tensor
    reference: Tensor | None = None


def moved_reference(picture_BCHW: Tensor, motion_B2hw: Tensor) -> Planes:
    """Planes of a picture, read where the motion points."""
    luma, chroma = planes_of(picture_BCHW)
    height, width = luma.shape[-2:]
    points = moved_points(motion_B2hw, height, width)
    half_points = moved_points(motion_B2hw, height // 2, width // 2, MOTION_CELL // 2)
    return sample_at(luma, points, "bicubic"), sample_at(chroma, half_points, "bicubic")


def departure_point(weights: ClipWeights) -> Planes | None:
    """What the grid is added to: the moved reference, lapped, in the cells that let it through."""
    if weights.reference is None:
        return None
    planes = moved_reference(weights.reference, weights.motion[:, 4:])
    openness = 1 - weights.gate.clamp(0, 1)
    luma, chroma = (
        lapped(plane, cell) * openness.repeat_interleave(cell, 2).repeat_interleave(cell, 3)
        for plane, cell in zip(planes, (GRID_CELL, CHROMA_CELL), strict=True)
    )
    return luma, chroma


def painted_planes(
    base: Mapping[str, Tensor], weights: ClipWeights, times_B1: Tensor | None = None
) -> Planes:
    """The first layer: frames of each clip before they are moved, ``(B, T, ...)``.

    All 8 of them, or one of each clip in an eighth of the memory. Patterns are painted before
    they are mixed in time: the few spatial patterns of each temporal one are fewer than those of a
    frame, and frames are many.
    """
    grid, parts, start = weights.grid, _used_parts(weights.grid), departure_point(weights)
    mix_BK = None
    if times_B1 is not None:
        mix_BK = torch.matmul(share_of_frames(times_B1[:, 0]), base["time"])
    # Some rows after the other, as all of a large picture would take most of the memory.
    at_once = max(1, _CELLS_AT_ONCE // grid.shape[-1])
    painted = [
        _painted_rows(base, rows, parts, _lines(start, number * at_once, rows.shape[2]), mix_BK)
        for number, rows in enumerate(torch.split(grid, at_once, 2))
    ]
    luma, chroma = (torch.cat(planes, -2) for planes in zip(*painted, strict=True))
    return unlapped(luma, GRID_CELL), unlapped(chroma, CHROMA_CELL)


def _lines(start: Planes | None, first: int, rows: int) -> tuple[Tensor | None, ...]:
    """Luma and two colour differences ``(B, H, W)`` of some rows of cells."""
    if start is None:
        return (None,) * 3
    luma, chroma = (
        plane.narrow(2, first * cell, rows * cell)
        for plane, cell in zip(start, (GRID_CELL, CHROMA_CELL), strict=True)
    )
    return luma[:, 0], chroma[:, 0], chroma[:, 1]


def _painted_rows(
    base: Mapping[str, Tensor],
    grid_BCHW: Tensor,
    parts: tuple[list[SpectrumPart], ...],
    start: tuple[Tensor | None, ...],
    mix_BK: Tensor | None,
) -> Planes:
    luma, *chroma = (
        _all_painted(*plane, grid_BCHW, base["time"])
        if mix_BK is None
        else _one_painted(*plane, grid_BCHW, mix_BK)
        for plane in zip((base["luma"], base["chroma"], base["chroma"]), parts, start, strict=True)
    )
    return luma[:, :, None], torch.stack(chroma, 2)


def _used_parts(grid_BCHW: Tensor) -> tuple[list[SpectrumPart], ...]:
    """Channels that hold anything, by plane and temporal pattern."""
    parts = spectrum(grid_BCHW.shape[1]).parts
    if not grid_BCHW.requires_grad:
        used = used_channels(grid_BCHW).cpu()
        parts = tuple(part.of(used[part.channels]) for part in parts)
    return tuple(
        [part for part in parts if part.plane == plane and len(part.channels)] for plane in range(3)
    )


def _all_painted(
    kernel_PS: Tensor,
    parts: Sequence[SpectrumPart],
    start_BHW: Tensor | None,
    grid_BCHW: Tensor,
    time_TK: Tensor,
) -> Tensor:
    """Some rows of cells of one plane at all times: ``(B, 8, H, W)``."""
    clips, rows, columns, side = *grid_BCHW[:, 0].shape, math.isqrt(len(kernel_PS))
    # Ordered as lines of pixels before they are mixed, when they are fewer.
    patterns = [
        _in_lines(torch.matmul(*_factors(kernel_PS, grid_BCHW, part)), grid_BCHW) for part in parts
    ]
    mix = time_TK[:, [part.time for part in parts]]
    if start_BHW is not None:
        # One more pattern, which is the same at all times.
        patterns.append(start_BHW.reshape(clips, rows, side, columns, side))
        mix = F.pad(mix, (0, 1), value=1.0)
    size = (clips, CLIP_FRAMES, rows * side, columns * side)
    if not patterns:
        return grid_BCHW.new_zeros(size)
    return torch.matmul(mix, torch.stack(patterns, 1).flatten(2)).view(size)


def _one_painted(
    kernel_PS: Tensor,
    parts: Sequence[SpectrumPart],
    start_BHW: Tensor | None,
    grid_BCHW: Tensor,
    mix_BK: Tensor,
) -> Tensor:
    """Some rows of cells of one plane at one time of each clip: ``(B, 1, H, W)``."""
    cells = grid_BCHW.new_zeros(len(grid_BCHW), grid_BCHW[0, 0].numel(), len(kernel_PS))
    for part in parts:
        values_BNC, kernel_CP = _factors(kernel_PS, grid_BCHW, part)
        mixed = values_BNC * mix_BK[:, part.time, None, None]
        cells.baddbmm_(mixed, kernel_CP.expand(len(cells), -1, -1))
    plane = _in_lines(cells, grid_BCHW).flatten(3).flatten(1, 2)
    if start_BHW is not None:
        plane = plane + start_BHW
    return plane[:, None]


def _factors(kernel_PS: Tensor, grid_BCHW: Tensor, part: SpectrumPart) -> tuple[Tensor, Tensor]:
    """Values ``(B, cells, n)`` and their patterns ``(n, pixels)``."""
    values = grid_BCHW[:, part.channels].flatten(2).transpose(1, 2)
    return values, kernel_PS[:, part.patterns].T * KERNEL_SCALE


def _in_lines(cells_BNP: Tensor, grid_BCHW: Tensor) -> Tensor:
    """Square cells in the order of the pixels of a picture: ``(B, rows, side, columns, side)``."""
    side = math.isqrt(cells_BNP.shape[2])
    cells = torch.unflatten(cells_BNP, 1, grid_BCHW.shape[2:])
    return torch.unflatten(cells, 3, (side, side)).transpose(2, 3)


class ClipRenderer:
    """Renders frames of a batch of clips; what the frames of a clip share is made once.

    Args:
        base: the shipped kernels.
        weights: of the clips.
        planes: what ``painted_planes`` makes of them; if those are of one time, no other can be
            asked for.
    """

    def __init__(
        self,
        base: Mapping[str, Tensor],
        weights: ClipWeights,
        planes: Planes | None = None,
    ) -> None:
        self._planes = painted_planes(base, weights) if planes is None else planes
        self._motion = _Motion(weights)

    def frames(self, times_BN: Tensor) -> Tensor:
        """``(B, N, 3, H, W)`` RGB, not clamped, at times in ``[0, CLIP_FRAMES)`` of each clip.

        Times ``(1, N)`` are those of all clips.
        """
        luma, chroma = (_at(planes, times_BN) for planes in self._planes)
        rgb = rgb_of(self._motion.moved(luma, chroma, times_BN))
        return torch.unflatten(rgb, 0, (len(luma), -1))


def _at(planes_BTCHW: Tensor, times_BN: Tensor) -> Tensor:
    """Pictures at given times, linear between frames: ``(B, N, C, H, W)``."""
    if planes_BTCHW.shape[1] == 1:
        return planes_BTCHW
    whole = times_BN.long()
    if torch.equal(whole.to(times_BN), times_BN):
        if whole.numel() == 1:
            return planes_BTCHW.narrow(1, int(whole), 1)
        if len(whole) == 1:
            return planes_BTCHW[:, whole[0]]
        return planes_BTCHW[torch.arange(len(whole), device=whole.device)[:, None], whole]
    mixed = torch.matmul(share_of_frames(times_BN), planes_BTCHW.flatten(2))
    return torch.unflatten(mixed, 2, planes_BTCHW.shape[2:])


class _Motion:
    """The second layer: both planes of each frame moved along the motion inside the clip."""

    def __init__(self, weights: ClipWeights) -> None:
        self._motion, self._sway = weights.motion[:, :4], weights.sway
        self._still = not bool(self._motion.any() or self._sway.any())

    def moved(self, luma_BNCHW: Tensor, chroma_BNCHW: Tensor, times_BN: Tensor) -> Planes:
        """Planes of ``B * N`` frames."""
        luma, chroma = luma_BNCHW.flatten(0, 1), chroma_BNCHW.flatten(0, 1)
        if self._still:
            return luma, chroma
        # What moves right is found to the left.
        back = -motion_at(self._motion, self._sway, times_BN).flatten(0, 1)
        height, width = luma.shape[2:]
        points = moved_points(back, height, width)
        half_points = moved_points(back, height // 2, width // 2, MOTION_CELL // 2)
        return sample_at(luma, points), sample_at(chroma, half_points)


def render_clips(base: Mapping[str, Tensor], weights: ClipWeights, times_N: Tensor) -> Tensor:
    """Frames of several clips: ``frames_BNCHW``, RGB, not clamped, multiples of 16 pixels.

    Args:
        base: the shipped kernels of ``base_shapes``.
        weights: of the clips.
        times_N: frame positions in ``[0, CLIP_FRAMES)``.
    """
    return ClipRenderer(base, weights).frames(times_N[None])


def whole_cells(frames: Tensor) -> Tensor:
    """Frames padded at the right and bottom to multiples of 16 pixels; the border repeats."""
    height, width = frames.shape[-2:]
    if height % GRID_CELL == width % GRID_CELL == 0:
        return frames
    return F.pad(frames, (0, -width % GRID_CELL, 0, -height % GRID_CELL), mode="replicate")
