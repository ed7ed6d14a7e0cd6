"""How the frames of a clip move: smoothly, square by square, and swaying about that.

A clip's motion is sent for 32-pixel squares, as what moves evenly and what bends. What a hand or a
bumpy road does to a camera follows no such path, but does it to everything in sight: ``sway`` says
for 128-pixel squares how far each frame is off it.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from hypernet.decoders.spectrum import CLIP_FRAMES
from hypernet.decoders.warp import MOTION_CELL, bounded, dense_field, interpolation

SWAY_SQUARES = 4
"""Squares of the motion along each side of one that sways."""
SWAY_CELL = SWAY_SQUARES * MOTION_CELL
"""Pixels along that side."""
SMOOTH = 3
"""Polynomials of the time that the motion takes care of: still, evenly, bent."""
SWAYS = CLIP_FRAMES - SMOOTH


def sway_size(height: int, width: int) -> tuple[int, int]:
    """Swaying squares that cover a frame."""
    return -(-height // SWAY_CELL), -(-width // SWAY_CELL)


def clip_phase(times_N: Tensor) -> Tensor:
    """Times as -1 at the first frame of a clip to 1 at the last."""
    return 2 * times_N / (CLIP_FRAMES - 1) - 1


def share_of_frames(times: Tensor) -> Tensor:
    """What each of the 8 frames contributes at a time: linear between neighbours."""
    knots = torch.arange(CLIP_FRAMES, device=times.device)
    return (1.0 - (times[..., None] - knots).abs()).clamp(min=0)


@functools.cache
def sways() -> Tensor:
    """How far each frame is off for each way of swaying: ``(CLIP_FRAMES, SWAYS)``, orthonormal.

    Polynomials of the time, of degree 3 and above.
    """
    with torch.inference_mode(mode=False):
        phase = clip_phase(torch.arange(CLIP_FRAMES, dtype=torch.float64))
        powers = phase[:, None] ** torch.arange(CLIP_FRAMES)
        basis, signs = torch.linalg.qr(powers)
        ways: Tensor = basis * signs.diagonal().sign()
        return ways[:, SMOOTH:].float()


def motion_at(motion_B4hw: Tensor, sway_BShw: Tensor, times_N: Tensor) -> Tensor:
    """Displacement of each square at each time since the middle of the clip, in pixels, bounded.

    Args:
        motion_B4hw: x and y in pixels: what moves evenly and what bends, both of the last frame.
        sway_BShw: ``(B, 2 * SWAYS, ...)``, x and y for each of ``sways``.
        times_N: frame positions in ``[0, CLIP_FRAMES)``, or ``(B, N)``.

    Returns:
        ``(B, N, 2, h, w)``.
    """
    evenly, bent = motion_B4hw[:, None, :2], motion_B4hw[:, None, 2:]
    phase = clip_phase(times_N)[..., None, None, None]
    moved = phase * evenly + phase.square() * bent
    if not sway_BShw.any():
        return bounded(moved)
    shares = share_of_frames(times_N) @ sways().to(motion_B4hw)
    parts = torch.unflatten(swaying_squares(sway_BShw, *motion_B4hw.shape[2:]), 1, (SWAYS, 2))
    return bounded(moved + torch.matmul(shares, parts.flatten(2)).view(moved.shape))


def swaying_squares(sway_BShw: Tensor, rows: int, columns: int) -> Tensor:
    """For squares of the motion, linear between centres: ``(B, channels, rows, columns)``.

    A sway of these squares, as a clip has that was cut out of another, is returned as it is.
    """
    if sway_BShw.shape[2:] == (rows, columns):
        return sway_BShw
    down, across = sway_interpolation(sway_BShw, rows, columns)
    return down @ sway_BShw @ across.T


def sway_interpolation(sway_BShw: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Matrices from swaying squares to those of the motion, down and across."""
    down, across = (
        interpolation(squares, size, SWAY_SQUARES).to(sway_BShw)
        for squares, size in zip((rows, columns), sway_BShw.shape[2:], strict=True)
    )
    return down, across


def frame_fields(motion_BN2hw: Tensor, height: int, width: int, cell: int = MOTION_CELL) -> Tensor:
    """Displacement of every pixel of ``motion_at``: ``(B, N, 2, height, width)``.

    A smaller ``cell`` gives the fields of smaller pictures, as in ``dense_field``.
    """
    fields = dense_field(motion_BN2hw.flatten(0, 1), height, width, cell)
    return torch.unflatten(fields, 0, motion_BN2hw.shape[:2])
