"""What a cosine transform shows of a clip lined up along its motion, less what it departs from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernet.bitstream.steps import step_size
from hypernet.decoders.clip_motion import clip_phase, frame_fields, motion_at
from hypernet.decoders.lapped import lapped
from hypernet.decoders.planes import luma_of, planes_of
from hypernet.decoders.spectrum import (
    CHROMA_CELL,
    CLIP_FRAMES,
    GRID_CELL,
    Spectrum,
    cosines,
    spatial_cosines,
    spectrum,
)
from hypernet.decoders.tubelet_layers import moved_reference, whole_cells
from hypernet.decoders.warp import MOTION_CELL, enlarged, halved, inverse_field, sample
from hypernet.predictor.motion import clip_motion, reference_gate, reference_motion
from hypernet.predictor.motion_choice import chosen_motion, texture
from hypernet.predictor.native_analysis import (
    can_align,
    can_read,
    lap,
    line_up,
    read_half_luma,
    read_planes,
)

MOTION_STEP_INDEX = 160
_MOTION_STEP = step_size(MOTION_STEP_INDEX)
_COARSE = 4
"""Pixels along each side of the squares that the way back is sought for."""
_ROWS_AT_ONCE = 4
"""Rows of cells."""


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
    """Clips lined up along their motion: each frame moved to the middle of the clip.

    Attributes:
        motion: ``(B, 4, h, w)`` symbols.
        sway: ``(B, 2 * SWAYS, ...)`` symbols.
        mean: ``(B, 1, H, W)``, average luma.
        spectra: ``(B, channels, rows, cols)``, cosine spectrum of the channels that are sent.
        motion_steps: gradient steps that the motion took, and that against a reference takes.
    """

    motion: Tensor
    sway: Tensor
    mean: Tensor
    spectra: Tensor
    motion_steps: int


@torch.no_grad()
def analyse(
    frames_BTCHW: Tensor, motion_steps: int, channels: int, price_B: Tensor
) -> AnalysedClip:
    """What can be known of clips before their references are coded.

    Args:
        frames_BTCHW: 1 to 8 RGB frames, uint8, or float in [0, 1]; any size. Missing frames repeat
            the last, missing rows and columns of cells the border.
        motion_steps: gradient steps for the motion.
        channels: that are sent.
        price_B: bits that a squared error of luma is worth, for the choice of the motion.
    """
    with torch.autocast(frames_BTCHW.device.type, enabled=False):
        # Before there are planes of full size, which would double what the search takes of memory.
        found, sway = clip_motion(_half_luma(frames_BTCHW), motion_steps)
        luma, chroma = _planes(frames_BTCHW)
        motion = _chosen(found, luma[:, CLIP_FRAMES // 2], _squared_phases(found), price_B)
        sway = torch.floor(sway / _MOTION_STEP + 0.5)
        _line_up(luma, chroma, motion * _MOTION_STEP, sway * _MOTION_STEP)
        mean = luma.mean(1)
        return AnalysedClip(
            motion=motion,
            sway=sway,
            mean=mean,
            spectra=spectra_of(luma, chroma, channels),
            motion_steps=motion_steps,
        )


@torch.no_grad()
def departure(
    clip: AnalysedClip, reference: Reference | None, price_B: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Motion symbols ``(B, 6, h, w)``, gate, and the spectrum less that of the moved reference."""
    gate = torch.zeros_like(clip.spectra[:, :1])
    if reference is None:
        motion = torch.cat((clip.motion, torch.zeros_like(clip.motion[:, :2])), 1)
        return motion, gate, clip.spectra
    motion = torch.cat((clip.motion, _onward(clip, reference, price_B)), 1)
    start = moved_reference(reference.picture, motion[:, 4:] * _MOTION_STEP)
    gate = reference_gate(clip.mean, start[0])
    known = _still_spectra(*_lapped(*start), clip.spectra.shape[1])
    return motion, gate, known.mul_(gate - 1).add_(clip.spectra)


def _half_luma(frames_BTCHW: Tensor) -> Tensor:
    """Luma of 8 frames at half size, ``(B, 8, h, w)``."""
    height, width = _whole_size(frames_BTCHW)
    half = torch.empty(
        len(frames_BTCHW), CLIP_FRAMES, height // 2, width // 2, device=frames_BTCHW.device
    )
    if can_read(frames_BTCHW):
        for frames, halves in zip(frames_BTCHW, half, strict=True):
            for number in range(CLIP_FRAMES):
                read_half_luma(frames[min(number, len(frames) - 1)], halves[number])
        return half
    for number, frame in enumerate(_whole_frames(frames_BTCHW)):
        half[:, number] = halved(luma_of(frame)[:, 0])
    return half


def _planes(frames_BTCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Planes ``(B, 8, ...)`` of whole cells."""
    height, width = _whole_size(frames_BTCHW)
    luma = torch.empty(len(frames_BTCHW), CLIP_FRAMES, 1, height, width, device=frames_BTCHW.device)
    chroma = luma.new_empty(len(luma), CLIP_FRAMES, 2, height // 2, width // 2)
    if can_read(frames_BTCHW):
        for frames, *planes in zip(frames_BTCHW, luma, chroma, strict=True):
            for number in range(CLIP_FRAMES):
                read_planes(frames[min(number, len(frames) - 1)], *(p[number] for p in planes))
        return luma, chroma
    for number, frame in enumerate(_whole_frames(frames_BTCHW)):
        luma[:, number], chroma[:, number] = planes_of(frame)
    return luma, chroma


def _whole_size(frames: Tensor) -> tuple[int, int]:
    """Height and width of whole cells."""
    height, width = (side + -side % GRID_CELL for side in frames.shape[-2:])
    return height, width


def _whole_frames(frames_BTCHW: Tensor) -> Iterator[Tensor]:
    """8 frames of whole cells, ``(B, 3, H, W)`` float, one after the other.

    What lies between fits into a cache, and into little memory.
    """
    for number in range(CLIP_FRAMES):
        frame = frames_BTCHW[:, min(number, frames_BTCHW.shape[1] - 1)].contiguous()
        yield whole_cells(frame.float().div_(255) if frame.dtype == torch.uint8 else frame)


def _line_up(luma: Tensor, chroma: Tensor, motion: Tensor, sway: Tensor) -> None:
    """Move each frame of the planes to the middle of the clip, in place."""
    if not (motion.any() or sway.any()):
        return
    moments = torch.arange(float(CLIP_FRAMES), device=motion.device)
    way_back = _way_back(motion_at(motion, sway, moments), *luma.shape[-2:])
    if can_align(luma[:, :, 0]):
        for fields, *planes in zip(way_back, luma, chroma, strict=True):
            for number, field in enumerate(fields):
                for plane in planes:
                    line_up(plane[number], field)
        return
    for number in range(CLIP_FRAMES):
        field = enlarged(way_back[:, number], _COARSE)
        luma[:, number] = sample(luma[:, number], field, "bicubic")
        half_field = enlarged(way_back[:, number], _COARSE // 2)
        chroma[:, number] = sample(chroma[:, number], half_field, "bicubic")


def _way_back(motion_BT2hw: Tensor, height: int, width: int) -> Tensor:
    """From the middle of the clip to each frame, for pictures of a quarter: ``(B, T, 2, ...)``.

    Fields are smooth: finding the way back at every pixel gains nothing.
    """
    size = (height // _COARSE, width // _COARSE)
    fields = frame_fields(motion_BT2hw, *size, MOTION_CELL // _COARSE)
    return torch.unflatten(inverse_field(-fields.flatten(0, 1)), 0, fields.shape[:2])


def _onward(clip: AnalysedClip, reference: Reference, price_B: Tensor) -> Tensor:
    """Symbols of the motion against the reference."""
    picture, pixels = halved(planes_of(reference.picture)[0]), clip.motion * _MOTION_STEP
    found = reference_motion(
        picture, halved(clip.mean), pixels, reference.offset, clip.motion_steps
    )
    return _chosen(found, clip.mean, found.new_tensor([CLIP_FRAMES]), price_B)


def _chosen(found: Tensor, picture_B1HW: Tensor, shares_K: Tensor, price_B: Tensor) -> Tensor:
    """Symbols of what was found, in pixels; see ``chosen_motion``."""
    shows = texture(picture_B1HW) * _MOTION_STEP**2
    return chosen_motion(found / _MOTION_STEP, shows, shares_K, price_B)


def _squared_phases(like: Tensor) -> Tensor:
    """Squared shares in what moves evenly and what bends, summed over frames."""
    squares = clip_phase(torch.arange(CLIP_FRAMES).to(like)).square()
    return torch.stack((squares.sum(), squares.square().sum()))


def _lapped(luma: Tensor, chroma: Tensor) -> tuple[Tensor, Tensor]:
    """Planes whose cells overlap; those that are given are used up."""
    if can_align(luma):
        lap(luma, GRID_CELL)
        lap(chroma, CHROMA_CELL)
        return luma, chroma
    return lapped(luma, GRID_CELL), lapped(chroma, CHROMA_CELL)


@torch.no_grad()
def spectra_of(luma_BTCHW: Tensor, chroma_BTCHW: Tensor, channels: int) -> Tensor:
    """Cosine spectrum of the channels that are sent: ``(B, channels, rows, cols)``.

    Planes of 8 frames and whole cells; they are used up.
    """
    luma_BTCHW, chroma_BTCHW = _lapped(luma_BTCHW, chroma_BTCHW)
    patterns = spectrum(channels)
    rows, columns = (side // GRID_CELL for side in luma_BTCHW.shape[-2:])
    waves = cosines(CLIP_FRAMES).to(luma_BTCHW)
    spectra = luma_BTCHW.new_empty(len(luma_BTCHW), channels, rows, columns)
    # A few rows after the other: all patterns of a frame would take most of the memory.
    for start in range(0, rows, _ROWS_AT_ONCE):
        some = slice(start, start + _ROWS_AT_ONCE)
        luma = luma_BTCHW[..., some.start * GRID_CELL : some.stop * GRID_CELL, :]
        chroma = chroma_BTCHW[..., some.start * CHROMA_CELL : some.stop * CHROMA_CELL, :]
        spatial = _spatial_spectra(luma.flatten(0, 1), chroma.flatten(0, 1), patterns)
        dense = torch.matmul(waves, torch.unflatten(spatial, 0, (-1, CLIP_FRAMES)).flatten(2))
        spectra[:, :, some] = patterns.gather(dense.view(*dense.shape[:2], *spatial.shape[1:]))
    return spectra


def _still_spectra(luma_BCHW: Tensor, chroma_BCHW: Tensor, channels: int) -> Tensor:
    """Spectrum of clips that show one picture: what moves in time is zero."""
    patterns = spectrum(channels)
    spatial = _spatial_spectra(luma_BCHW, chroma_BCHW, patterns)
    spectra = spatial.new_zeros(len(spatial), channels, *spatial.shape[2:])
    still = (patterns.index < patterns.patterns).to(spatial.device)
    places = patterns.index.to(spatial.device)[still]
    spectra[:, still] = math.sqrt(CLIP_FRAMES) * spatial[:, places]
    return spectra


def _spatial_spectra(luma_NCHW: Tensor, chroma_NCHW: Tensor, patterns: Spectrum) -> Tensor:
    """``(N, patterns, rows, cols)``."""
    luma = F.pixel_unshuffle(luma_NCHW, GRID_CELL)
    kernel = spatial_cosines(patterns.luma_frequencies, GRID_CELL).to(luma)
    luma_spectra = torch.matmul(kernel, luma.flatten(2))
    chroma = F.pixel_unshuffle(chroma_NCHW.flatten(0, 1)[:, None], CHROMA_CELL)
    # A colour difference at half size has a quarter of the samples: twice the gain is orthonormal.
    kernel = 2 * spatial_cosines(patterns.chroma_frequencies, CHROMA_CELL).to(luma)
    chroma_spectra = torch.unflatten(torch.matmul(kernel, chroma.flatten(2)), 0, (-1, 2))
    both = torch.cat((luma_spectra, chroma_spectra.flatten(1, 2)), 1)
    return torch.unflatten(both, 2, luma.shape[-2:])
