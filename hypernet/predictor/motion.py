"""Motion of a clip, and against its reference, by least squares from coarse to fine.

Every 32-pixel square gets the displacement that lines up all frames best, in the manner of Lucas
and Kanade, on a pyramid of luma; between squares it is interpolated. Only the encoder runs this:
the decoder is told the result, so it may be improved at any time. Gradient steps follow that also
bend the motion and keep it smooth enough to be cheap (``motion_descent``).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernet.decoders.clip_motion import SWAYS, clip_phase, sway_size
from hypernet.decoders.spectrum import CLIP_FRAMES, GRID_CELL
from hypernet.decoders.warp import field_size, halved, sample
from hypernet.predictor.motion_descent import (
    SQUARE,
    Alignment,
    Motion,
    descended,
    error_of_squares,
    smooth,
    worthwhile,
)
from hypernet.predictor.native_analysis import NativeAlignment, can_align

LEVELS = 4
ITERATIONS = 3
ROBUST_SCALE = 0.06
"""Differences well above this count little: they are occlusions, not motion."""
MOTION_STEPS = 8
"""Gradient steps that one forward pass affords."""
_MIN_SWAY_GAIN = 0.05
"""Share of the error that swaying must remove to be worth sending."""
_DAMPING = 1e-4
_MAX_UPDATE = 2.0
_MIN_SIDE = 4


def clip_motion(luma_BTHW: Tensor, descent_steps: int = MOTION_STEPS) -> tuple[Tensor, Tensor]:
    """How a clip moves and sways, in pixels, as ``decoders.clip_motion.motion_at`` takes it.

    Args:
        luma_BTHW: 8 frames of luma at half size, 0 to 1.
        descent_steps: gradient steps after the least squares; more on smaller pictures.
    """
    times = torch.arange(CLIP_FRAMES, dtype=luma_BTHW.dtype, device=luma_BTHW.device)
    phases = clip_phase(times)
    still = _still(luma_BTHW)
    evenly = _refined(luma_BTHW, phases, still, None)
    alignment = Alignment(pictures=luma_BTHW, basis=torch.stack((phases, phases.square())))
    candidates = [torch.cat((found, still), 1) for found in (still, evenly)]
    height, width = luma_BTHW.shape[-2:]
    steady = luma_BTHW.new_zeros(len(luma_BTHW), 2 * SWAYS, *sway_size(2 * height, 2 * width))
    start = Motion(squares=worthwhile(alignment, candidates), sway=steady)
    found = descended(alignment, start, descent_steps)
    if found.sway is not None:
        helps = _sway_helps(alignment, found)[:, None, None, None]
        steady = torch.where(helps, found.sway, steady)
    return 2 * found.squares, 2 * steady


def _sway_helps(alignment: Alignment, motion: Motion) -> Tensor:
    """Whether each clip is lined up clearly better with its sway."""
    both = (motion, Motion(squares=motion.squares))
    swaying, steady = (error_of_squares(alignment, one).mean((1, 2, 3)) for one in both)
    return swaying < steady * (1 - _MIN_SWAY_GAIN)


def reference_motion(
    picture_B1HW: Tensor,
    target_B1HW: Tensor,
    motion_B4hw: Tensor,
    offset_B: Tensor,
    descent_steps: int = MOTION_STEPS,
) -> Tensor:
    """Displacement in pixels from the middle of a clip to a reference picture: ``(B, 2, h, w)``.

    Args:
        picture_B1HW: luma of the reference at half size.
        target_B1HW: average of the clip, lined up along its own motion.
        motion_B4hw: that motion, from ``clip_motion``.
        offset_B: frames from the middle of the clip to the reference, negative if earlier.
        descent_steps: gradient steps after the least squares; more on smaller pictures.
    """
    phases = torch.ones(1, device=picture_B1HW.device)
    still = _still(picture_B1HW)
    half_clip = (CLIP_FRAMES - 1) / 2
    # Either it stands still, or it goes on as it moves now.
    onward = motion_B4hw[:, :2] / 2 * (offset_B / half_clip)[:, None, None, None]
    found = [_refined(picture_B1HW, phases, start, target_B1HW) for start in (still, onward)]
    alignment = Alignment(pictures=picture_B1HW, basis=phases[None], target=target_B1HW)
    start = Motion(squares=worthwhile(alignment, [still, *found]))
    return 2 * descended(alignment, start, descent_steps).squares


def _still(luma_BTHW: Tensor) -> Tensor:
    height, width = luma_BTHW.shape[-2:]
    size = field_size(2 * height, 2 * width)
    return luma_BTHW.new_zeros(luma_BTHW.shape[0], 2, *size)


def _refined(
    luma_BTHW: Tensor, phases_T: Tensor, start_B2hw: Tensor, target_B1HW: Tensor | None
) -> Tensor:
    """Displacement at phase 1, in half-size pixels, improved from a start."""
    pictures = _pyramid(luma_BTHW)
    targets = _pyramid(target_B1HW) if target_B1HW is not None else [None] * LEVELS
    size = start_B2hw.shape[-2:]
    motion = start_B2hw
    for level in reversed(range(LEVELS)):
        shrink = 2**level
        cell = max(SQUARE // shrink, 4)
        height, width = pictures[level].shape[-2:]
        if min(height, width) < _MIN_SIDE:
            continue
        motion = _resized(motion, (-(-height // cell), -(-width // cell))) / shrink
        if level:
            motion = smooth(motion)
        for _ in range(ITERATIONS):
            motion = motion + _update(pictures[level], phases_T, motion, cell, targets[level])
        motion = _resized(motion, size) * shrink
    return motion


def _update(
    pictures: Tensor, phases: Tensor, motion: Tensor, cell: int, target: Tensor | None
) -> Tensor:
    """One Gauss-Newton step for every square."""
    xx, xy, yy, xe, ye = smooth(_products(pictures, phases, motion, cell, target)).unbind(1)
    xx, yy = xx + _DAMPING, yy + _DAMPING
    determinant = xx * yy - xy * xy
    step = torch.stack((xy * ye - yy * xe, xy * xe - xx * ye), 1) / determinant[:, None]
    return step.clamp(-_MAX_UPDATE, _MAX_UPDATE)


def _products(
    pictures: Tensor, phases: Tensor, motion: Tensor, cell: int, target: Tensor | None
) -> Tensor:
    """Means over each square as ``NativeAlignment.products`` has the sums."""
    if can_align(pictures):
        native = NativeAlignment(pictures, target, cell=cell, softness=ROBUST_SCALE)
        by_time = phases[:, None, None, None] * motion[:, None]
        return native.products(by_time, phases) / cell**2
    moved = _moved(pictures, phases, motion, cell)
    error = moved - (moved.mean(1, keepdim=True) if target is None else target)
    down, right = torch.gradient(moved, dim=(2, 3))
    phase = phases[:, None, None]
    along_x, along_y = phase * right, phase * down
    if target is None:
        along_x = along_x - along_x.mean(1, keepdim=True)
        along_y = along_y - along_y.mean(1, keepdim=True)
    trust = 1 / (1 + (error / ROBUST_SCALE).square())
    products = (
        trust * along_x * along_x,
        trust * along_x * along_y,
        trust * along_y * along_y,
        trust * along_x * error,
        trust * along_y * error,
    )
    return _pooled(torch.stack([p.sum(1) for p in products], 1), cell)


def _moved(pictures_BTHW: Tensor, phases: Tensor, motion: Tensor, cell: int) -> Tensor:
    height, width = pictures_BTHW.shape[-2:]
    field = F.interpolate(motion, scale_factor=cell, mode="bilinear", align_corners=False)
    field = field[..., :height, :width]
    fields = (phases[:, None, None, None] * field[:, None]).flatten(0, 1)
    moved = sample(pictures_BTHW.flatten(0, 1)[:, None], fields)
    return moved.view(pictures_BTHW.shape)


def _pyramid(pictures_BTHW: Tensor) -> list[Tensor]:
    levels = [pictures_BTHW]
    for _ in range(LEVELS - 1):
        levels.append(halved(levels[-1]))
    return levels


def _pooled(x: Tensor, cell: int) -> Tensor:
    height, width = x.shape[-2:]
    return F.avg_pool2d(F.pad(x, (0, -width % cell, 0, -height % cell)), cell)


def _resized(motion: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    if motion.shape[-2:] == torch.Size(size):
        return motion
    return F.interpolate(motion, size=tuple(size), mode="bilinear", align_corners=False)


def reference_gate(mean_BCHW: Tensor, moved_BCHW: Tensor) -> Tensor:
    """Cells that the reference does not help: ``(B, 1, rows, cols)`` of 0 and 1.

    Args:
        mean_BCHW: the clip's average picture, lined up along its motion.
        moved_BCHW: the reference, moved to where the clip is.
    """
    average = F.avg_pool2d(mean_BCHW, GRID_CELL)
    average = average.repeat_interleave(GRID_CELL, 2).repeat_interleave(GRID_CELL, 3)
    plain = F.avg_pool2d((mean_BCHW - average).abs().mean(1, keepdim=True), GRID_CELL)
    departing = F.avg_pool2d((mean_BCHW - moved_BCHW).abs().mean(1, keepdim=True), GRID_CELL)
    return (departing > plain + 0.02).float()
