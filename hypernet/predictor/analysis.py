"""What a cosine transform shows of a clip: lined up along its motion, less what it departs from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernet.bitstream.steps import step_size
from hypernet.decoders.spectrum import (
    CHROMA_CELL,
    CLIP_FRAMES,
    GRID_CELL,
    cosines,
    spatial_cosines,
    spectrum,
)
from hypernet.decoders.tubelet_layers import (
    ClipWeights,
    departure_point,
    frame_fields,
    planes_of,
)
from hypernet.decoders.warp import MOTION_CELL, enlarged, inverse_field, sample
from hypernet.predictor.motion import clip_motion, reference_gate, reference_motion

MOTION_STEP_INDEX = 160
_COARSE = 4
"""Pixels along each side of the squares that the way back is sought for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """What a batch of clips is coded against.

    Attributes:
        picture: ``(B, 3, H, W)`` RGB, nearest frame of the reference clip as it is decoded.
        offset: ``(B,)`` frames from the middle of the clip to it, negative if earlier.
    """

    picture: Tensor
    offset: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysedClip:
    """Clips lined up along their motion.

    Attributes:
        motion: ``(B, 4, h, w)`` symbols.
        luma: ``(B, 8, 1, H, W)``, each frame moved to the middle of the clip.
        chroma: ``(B, 8, 2, H/2, W/2)``.
        motion_steps: gradient steps that the motion took, and that against a reference takes.
    """

    motion: Tensor
    luma: Tensor
    chroma: Tensor
    motion_steps: int


@torch.no_grad()
def analyse(frames_BTCHW: Tensor, motion_steps: int) -> AnalysedClip:
    """What can be known of clips before their references are coded.

    Args:
        frames_BTCHW: float in [0, 1], height and width multiples of 16.
        motion_steps: gradient steps for the motion.
    """
    with torch.autocast(frames_BTCHW.device.type, enabled=False):
        batch, times = frames_BTCHW.shape[:2]
        luma, chroma = _each_frame(planes_of, frames_BTCHW.flatten(0, 1))
        small = F.avg_pool2d(luma, 2)
        small = small.view(batch, times, *small.shape[-2:])
        motion = _to_symbols(clip_motion(small, motion_steps))
        luma, chroma = _lined_up(luma, chroma, motion * step_size(MOTION_STEP_INDEX), times)
        return AnalysedClip(motion=motion, luma=luma, chroma=chroma, motion_steps=motion_steps)


@torch.no_grad()
def departure(
    clip: AnalysedClip, reference: Reference | None, channels: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Motion symbols ``(B, 6, h, w)``, gate, and the cosine spectrum of what is not known yet."""
    rows, columns = (side // GRID_CELL for side in clip.luma.shape[-2:])
    gate = clip.luma.new_zeros(len(clip.luma), 1, rows, columns)
    if reference is None:
        motion = torch.cat((clip.motion, torch.zeros_like(clip.motion[:, :2])), 1)
        return motion, gate, _spectra(clip.luma, clip.chroma, channels)
    motion = torch.cat((clip.motion, _onward(clip, reference)), 1)
    luma, chroma, gate = _less_reference(clip, reference, motion, gate)
    return motion, gate, _spectra(luma, chroma, channels)


def _lined_up(luma: Tensor, chroma: Tensor, motion: Tensor, times: int) -> tuple[Tensor, Tensor]:
    """Planes ``(B, T, ...)`` of each frame moved to the middle of the clip."""
    batch = motion.shape[0]
    luma = torch.unflatten(luma, 0, (batch, times))
    chroma = torch.unflatten(chroma, 0, (batch, times))
    if not motion.any():
        return luma, chroma
    way_back = _way_back(motion, times, *luma.shape[-2:])
    moved_luma, moved_chroma = torch.empty_like(luma), torch.empty_like(chroma)
    # One frame after the other: fields of all frames would take most of the memory.
    for number in range(times):
        field = enlarged(way_back[:, number], _COARSE)
        moved_luma[:, number] = sample(luma[:, number], field, "bicubic")
        half_field = enlarged(way_back[:, number], _COARSE // 2)
        moved_chroma[:, number] = sample(chroma[:, number], half_field, "bicubic")
    return moved_luma, moved_chroma


def _way_back(motion_B4hw: Tensor, times: int, height: int, width: int) -> Tensor:
    """From the middle of the clip to each frame, for pictures of a quarter: ``(B, T, 2, ...)``.

    Fields are smooth: finding the way back at every pixel gains nothing.
    """
    moments = torch.arange(times, device=motion_B4hw.device)
    size = (height // _COARSE, width // _COARSE)
    fields = frame_fields(motion_B4hw, moments, *size, MOTION_CELL // _COARSE)
    return torch.unflatten(inverse_field(-fields.flatten(0, 1)), 0, fields.shape[:2])


def _each_frame(
    function: Callable[[Tensor], tuple[Tensor, Tensor]], frames_NCHW: Tensor
) -> tuple[Tensor, Tensor]:
    """A function of many frames, one after the other, which keeps what lies between small."""
    first, second = zip(*map(function, torch.split(frames_NCHW, 1)), strict=True)
    return torch.cat(first), torch.cat(second)


def _onward(clip: AnalysedClip, reference: Reference) -> Tensor:
    """Symbols of the motion against the reference."""
    small = torch.unflatten(F.avg_pool2d(clip.luma.flatten(0, 1), 2), 0, clip.luma.shape[:2])
    picture = F.avg_pool2d(planes_of(reference.picture)[0], 2)[:, 0]
    pixels = clip.motion * step_size(MOTION_STEP_INDEX)
    return _to_symbols(
        reference_motion(picture, small[:, :, 0], pixels, reference.offset, clip.motion_steps)
    )


def _less_reference(
    clip: AnalysedClip, reference: Reference, motion: Tensor, gate: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Planes less the moved reference, where the gate lets it through; and that gate."""
    empty = motion.new_zeros(motion.shape[0], 1, 1, 1)
    weights = ClipWeights(
        motion=motion * step_size(MOTION_STEP_INDEX),
        gate=gate,
        tiles=empty,
        grid=empty,
        reference=reference.picture,
    )
    start = departure_point(weights)
    if start is None:
        raise ValueError("a departure needs a reference")
    gate = reference_gate(clip.luma.mean(1), start[0])
    through = 1 - gate
    moved_luma = start[0] * through.repeat_interleave(GRID_CELL, 2).repeat_interleave(GRID_CELL, 3)
    through = through.repeat_interleave(CHROMA_CELL, 2).repeat_interleave(CHROMA_CELL, 3)
    moved_chroma = start[1] * through
    return clip.luma - moved_luma[:, None], clip.chroma - moved_chroma[:, None], gate


def _spectra(luma_BTCHW: Tensor, chroma_BTCHW: Tensor, channels: int) -> Tensor:
    """Cosine spectrum of the channels that are sent: ``(B, channels, rows, cols)``."""
    patterns = spectrum(channels)
    batch, times = luma_BTCHW.shape[:2]
    luma = F.pixel_unshuffle(luma_BTCHW.flatten(0, 1), GRID_CELL)
    rows, columns = luma.shape[-2:]
    kernel = spatial_cosines(patterns.luma_frequencies, GRID_CELL).to(luma)
    luma = torch.matmul(kernel, luma.flatten(2))
    chroma = F.pixel_unshuffle(chroma_BTCHW.flatten(0, 2)[:, None], CHROMA_CELL)
    kernel = spatial_cosines(patterns.chroma_frequencies, CHROMA_CELL).to(luma)
    # A colour difference at half size has a quarter of the samples: twice the gain is orthonormal.
    chroma = 2 * torch.matmul(kernel, chroma.flatten(2)).reshape(batch * times, -1, rows * columns)
    both = torch.cat((luma, chroma), 1).view(batch, times, -1)
    waves = cosines(CLIP_FRAMES).to(luma)
    return patterns.gather(torch.matmul(waves, both).view(batch, times, -1, rows, columns))


def _to_symbols(motion: Tensor) -> Tensor:
    return torch.floor(motion / step_size(MOTION_STEP_INDEX) + 0.5)
