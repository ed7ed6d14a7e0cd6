"""Motion of a clip, and against its reference, by least squares from coarse to fine.

Every 32-pixel square gets the displacement that lines up all frames best, in the manner of Lucas
and Kanade, on a pyramid of luma; between squares it is interpolated. Only the encoder runs this:
the decoder is told the result, so it may be improved at any time. A few gradient steps follow that
also bend the motion and keep it smooth enough to be cheap.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernet.decoders.spectrum import CLIP_FRAMES, GRID_CELL
from hypernet.decoders.tubelet_layers import clip_phase
from hypernet.decoders.warp import MOTION_CELL, dense_field, field_size, sample

LEVELS = 4
ITERATIONS = 3
ROBUST_SCALE = 0.06
"""Differences well above this count little: they are occlusions, not motion."""
MIN_GAIN = 0.1
"""Share of the error that motion must remove to be worth sending."""
MOTION_STEPS = 12
"""Gradient steps that one forward pass affords."""
_DESCENT_RATE = 0.05
_DESCENT_SOFTNESS = 0.01
_ROUGHNESS = 0.5
"""What a pixel of difference between neighbouring squares costs, as an error of one pixel."""
_DAMPING = 1e-4
_MAX_UPDATE = 2.0
_MIN_SIDE = 4


def clip_motion(luma_BTHW: Tensor, descent_steps: int = MOTION_STEPS) -> Tensor:
    """How a clip moves, in pixels: ``(B, 4, h, w)``, see ``tubelet_layers.frame_fields``.

    Args:
        luma_BTHW: 8 frames of luma at half size, 0 to 1.
        descent_steps: gradient steps after the least squares.
    """
    times = torch.arange(CLIP_FRAMES, dtype=luma_BTHW.dtype, device=luma_BTHW.device)
    phases = clip_phase(times)
    still = _still(luma_BTHW)
    evenly = _refined(luma_BTHW, phases, still, None)
    evenly = _worthwhile(luma_BTHW, phases, [still, evenly], None)
    start = torch.cat((evenly, torch.zeros_like(evenly)), 1)
    basis = torch.stack((phases, phases.square()))
    return 2 * _descended(luma_BTHW, basis, start, None, descent_steps)


def reference_motion(
    picture_BHW: Tensor,
    luma_BTHW: Tensor,
    motion_B4hw: Tensor,
    offset_B: Tensor,
    descent_steps: int = MOTION_STEPS,
) -> Tensor:
    """Displacement in pixels from the middle of a clip to a reference picture: ``(B, 2, h, w)``.

    Args:
        picture_BHW: luma of the reference at half size.
        luma_BTHW: the clip, lined up along its own motion.
        motion_B4hw: that motion, from ``clip_motion``.
        offset_B: frames from the middle of the clip to the reference, negative if earlier.
        descent_steps: gradient steps after the least squares.
    """
    target = luma_BTHW.mean(1, keepdim=True)
    picture = picture_BHW[:, None]
    phases = torch.ones(1, device=picture.device)
    still = _still(luma_BTHW)
    half_clip = (CLIP_FRAMES - 1) / 2
    # Either it stands still, or it goes on as it moves now.
    onward = motion_B4hw[:, :2] / 2 * (offset_B / half_clip)[:, None, None, None]
    found = [_refined(picture, phases, start, target) for start in (still, onward)]
    best = _worthwhile(picture, phases, [still, *found], target)
    return 2 * _descended(picture, phases[None], best, target, descent_steps)


def _descended(
    luma_BTHW: Tensor,
    basis_KT: Tensor,
    start_BChw: Tensor,
    target_B1HW: Tensor | None,
    steps: int,
) -> Tensor:
    """Motion improved by gradient steps on what is left after moving, and on its roughness.

    Args:
        luma_BTHW: pictures at half size.
        basis_KT: how far each pair of channels has moved each picture.
        start_BChw: two channels per row of the basis, in half-size pixels.
        target_B1HW: what the pictures should look like; their mean without one.
        steps: of Adam.
    """
    height, width = luma_BTHW.shape[-2:]
    # Gradients are wanted here even where the rest only infers.
    with torch.inference_mode(mode=False), torch.enable_grad():
        pictures, basis = luma_BTHW.clone(), basis_KT.clone()
        target = None if target_B1HW is None else target_B1HW.clone()
        motion = start_BChw.clone().requires_grad_()
        optimizer = torch.optim.Adam([motion], lr=_DESCENT_RATE, betas=(0.8, 0.95))
        for _ in range(steps):
            parts = torch.unflatten(motion, 1, (-1, 2)).flatten(0, 1)
            fields = dense_field(parts, height, width, cell=MOTION_CELL // 2) * 2
            fields = torch.einsum(
                "kt,bkcyx->btcyx", basis, torch.unflatten(fields, 0, (len(motion), -1))
            )
            moved = sample(pictures.flatten(0, 1)[:, None], fields.flatten(0, 1))
            moved = moved.view(pictures.shape)
            error = moved - (moved.mean(1, keepdim=True) if target is None else target)
            left = (error.square() + _DESCENT_SOFTNESS**2).sqrt().mean()
            rough = motion.diff(dim=-1).abs().sum() + motion.diff(dim=-2).abs().sum()
            loss = left + _ROUGHNESS * rough / (height * width * len(motion))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    return motion.detach()


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
        cell = max(MOTION_CELL // 2 // shrink, 4)
        height, width = pictures[level].shape[-2:]
        if min(height, width) < _MIN_SIDE:
            continue
        motion = _resized(motion, (-(-height // cell), -(-width // cell))) / shrink
        if level:
            motion = _smooth(motion)
        for _ in range(ITERATIONS):
            motion = motion + _update(pictures[level], phases_T, motion, cell, targets[level])
        motion = _resized(motion, size) * shrink
    return motion


def _update(
    pictures: Tensor, phases: Tensor, motion: Tensor, cell: int, target: Tensor | None
) -> Tensor:
    """One Gauss-Newton step for every square."""
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
    sums = _smooth(_pooled(torch.stack([p.sum(1) for p in products], 1), cell))
    xx, xy, yy, xe, ye = sums.unbind(1)
    xx, yy = xx + _DAMPING, yy + _DAMPING
    determinant = xx * yy - xy * xy
    step = torch.stack((xy * ye - yy * xe, xy * xe - xx * ye), 1) / determinant[:, None]
    return step.clamp(-_MAX_UPDATE, _MAX_UPDATE)


def _worthwhile(
    luma_BTHW: Tensor, phases: Tensor, candidates: list[Tensor], target: Tensor | None
) -> Tensor:
    """For every square the candidate with the least error; the first unless clearly beaten."""
    cell = MOTION_CELL // 2
    best = candidates[0]
    least = _error(luma_BTHW, phases, best, cell, target) * (1 - MIN_GAIN)
    for candidate in candidates[1:]:
        error = _error(luma_BTHW, phases, candidate, cell, target)
        better = error < least
        best = torch.where(better, candidate, best)
        least = torch.where(better, error, least)
    return best


def _error(
    luma_BTHW: Tensor, phases: Tensor, motion: Tensor, cell: int, target: Tensor | None
) -> Tensor:
    moved = _moved(luma_BTHW, phases, motion, cell)
    error = moved - (moved.mean(1, keepdim=True) if target is None else target)
    return _smooth(_pooled(error.abs().mean(1, keepdim=True), cell))


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
        last = levels[-1]
        even = F.pad(last, (0, last.shape[-1] % 2, 0, last.shape[-2] % 2), mode="replicate")
        levels.append(F.avg_pool2d(even, 2))
    return levels


def _pooled(x: Tensor, cell: int) -> Tensor:
    height, width = x.shape[-2:]
    return F.avg_pool2d(F.pad(x, (0, -width % cell, 0, -height % cell)), cell)


def _smooth(x_BCHW: Tensor) -> Tensor:
    line = torch.tensor([0.25, 0.5, 0.25], device=x_BCHW.device)
    channels = x_BCHW.shape[1]
    kernel = (line[:, None] * line).expand(channels, 1, 3, 3)
    return F.conv2d(F.pad(x_BCHW, (1, 1, 1, 1), mode="replicate"), kernel, groups=channels)


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
