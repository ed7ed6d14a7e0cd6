"""Rendering of tubelet clips by C kernels, on a CPU: the layers of ``tubelet_layers``, faster.

What lies between layers never leaves the cache, and of the grid only what is not zero is painted.
Pixels differ from those of ``tubelet_layers`` by rounding only.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping, Sequence
from ctypes import POINTER, Structure, c_int, c_int32
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypernet.crop import Crop
from hypernet.decoders.clip_motion import motion_at, share_of_frames
from hypernet.decoders.lapped import rotation
from hypernet.decoders.spectrum import (
    CHROMA_CELL,
    CLIP_FRAMES,
    GRID_CELL,
    colour_matrix,
    spectrum,
)
from hypernet.decoders.tubelet_layers import KERNEL_SCALE
from hypernet.decoders.warp import bounded
from hypernet.native import library
from hypernet.native.pointers import BytePointer, FloatPointer, floats, octets
from hypernet.packed_integers import PackedIntegers


class _Painting(Structure):
    _fields_ = (
        ("entries", POINTER(c_int32)),
        ("values", FloatPointer),
        ("count", c_int),
        ("all_rows", c_int),
        ("all_columns", c_int),
        ("top", c_int),
        ("left", c_int),
        ("rows", c_int),
        ("columns", c_int),
        ("places", POINTER(c_int32)),
        ("luma_patterns", FloatPointer),
        ("chroma_patterns", FloatPointer),
        ("mix", FloatPointer),
        ("times", c_int),
        ("start_luma", FloatPointer),
        ("start_chroma", FloatPointer),
        ("luma_rotation", FloatPointer),
        ("chroma_rotation", FloatPointer),
    )


class _Departure(Structure):
    _fields_ = (
        ("rgb", FloatPointer),
        ("height", c_int),
        ("width", c_int),
        ("rows", c_int),
        ("columns", c_int),
        ("colours", FloatPointer),
        ("motion", FloatPointer),
        ("motion_rows", c_int),
        ("motion_columns", c_int),
        ("openness", FloatPointer),
        ("luma_rotation", FloatPointer),
        ("chroma_rotation", FloatPointer),
    )


class _Frame(Structure):
    _fields_ = (
        ("luma", FloatPointer),
        ("chroma", FloatPointer),
        ("height", c_int),
        ("width", c_int),
        ("motion", FloatPointer),
        ("motion_rows", c_int),
        ("motion_columns", c_int),
        ("colours", FloatPointer),
    )


class _Target(Structure):
    _fields_ = (
        ("top", c_int),
        ("left", c_int),
        ("height", c_int),
        ("width", c_int),
        ("planar", c_int),
        ("levels", BytePointer),
        ("values", FloatPointer),
    )


def can_render(base: Mapping[str, Tensor]) -> bool:
    """Whether the kernels are there, and made for this device."""
    return base["luma"].device.type == "cpu" and library.kernels() is not None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SparseGrid:
    """The grid of a clip where it is not zero.

    Attributes:
        shape: channels, rows and columns of cells.
        places: in the flat grid, ascending, int32 ``(N,)``.
        values: float32 ``(N,)``.
        corner: row and column of the first cell that is rendered, of a clip that is cut.
    """

    shape: tuple[int, int, int]
    places: NDArray[np.int32]
    values: NDArray[np.float32]
    corner: tuple[int, int] = (0, 0)

    @classmethod
    def of(
        cls, symbols: PackedIntegers, step: float, corner: tuple[int, int] = (0, 0)
    ) -> SparseGrid:
        """Symbols times their step."""
        places, values = symbols.sparse()
        channels, rows, columns = symbols.shape
        return cls(
            shape=(channels, rows, columns),
            places=places,
            values=values.astype(np.float32) * np.float32(step),
            corner=corner,
        )

    @classmethod
    def of_dense(cls, grid_CHW: Tensor) -> SparseGrid:
        """A whole grid."""
        flat = grid_CHW.flatten()
        places = flat.nonzero()[:, 0]
        channels, rows, columns = grid_CHW.shape
        return cls(
            shape=(channels, rows, columns),
            places=places.to(torch.int32).numpy(),
            values=flat[places].numpy(),
        )


class NativeClip:
    """Frames of one clip; what they share is painted once.

    Args:
        base: the shipped kernels, as named by ``tubelet.base_shapes``.
        grid: of the clip.
        weights: its ``motion``, ``sway`` and ``gate``, on the CPU, and ``reference`` of
            one that departs from another: ``(3, height, width)``, RGB.
        size: height and width of a frame in pixels.
        times: those that will be asked for; by default all.
    """

    def __init__(
        self,
        base: Mapping[str, Tensor],
        grid: SparseGrid,
        weights: Mapping[str, Tensor],
        size: tuple[int, int],
        times: Sequence[float] | None = None,
    ) -> None:
        self._size = size
        self._times = [float(t) for t in (range(CLIP_FRAMES) if times is None else times)]
        self._luma, self._chroma = _painted(base, grid, weights, self._times)
        self._motion, self._sway = weights["motion"][None, :4], weights["sway"][None]
        self._colours = colour_matrix().T.contiguous()

    def __call__(self, times_N: Tensor) -> Tensor:
        """``frames_NCHW``, RGB in [0, 1]."""
        frames = torch.empty(len(times_N), 3, *self._size)
        for time, frame_CHW in zip(times_N.tolist(), frames, strict=True):
            self._draw(time, self._whole(planar=True, values=floats(frame_CHW)))
        return frames

    def levels(self, times_N: Tensor) -> Tensor:
        """``frames_NHWC``, 8-bit RGB."""
        frames = torch.empty(len(times_N), *self._size, 3, dtype=torch.uint8)
        for time, frame_HWC in zip(times_N.tolist(), frames, strict=True):
            self._draw(time, self._whole(planar=False, levels=octets(frame_HWC)))
        return frames

    def draw(self, time: float, part: Crop, out_CHW: Tensor) -> None:
        """Part of a frame as 8-bit RGB into ``(3, part.height, part.width)``, contiguous."""
        if out_CHW.shape != (3, part.height, part.width):
            raise ValueError(f"{part} does not fit into {tuple(out_CHW.shape)}")
        whole = Crop(top=0, left=0, height=self._size[0], width=self._size[1])
        if min(part.top, part.left) < 0 or whole.united(part) != whole:
            raise ValueError(f"{part} does not lie in {whole}")
        target = _Target(
            top=part.top,
            left=part.left,
            height=part.height,
            width=part.width,
            planar=True,
            levels=octets(out_CHW),
        )
        self._draw(time, target)

    def _whole(self, **target: object) -> _Target:
        height, width = self._size
        return _Target(top=0, left=0, height=height, width=width, **target)

    def _draw(self, time: float, target: _Target) -> None:
        luma, chroma = self._planes_at(time)
        motion = motion_at(self._motion, self._sway, torch.tensor([time]))[0, 0].contiguous()
        frame = _Frame(
            luma=floats(luma),
            chroma=floats(chroma),
            height=luma.shape[-2],
            width=luma.shape[-1],
            motion=floats(motion) if motion.any() else None,
            motion_rows=motion.shape[1],
            motion_columns=motion.shape[2],
            colours=floats(self._colours),
        )
        _checked(library.built().nrv_draw(ctypes.byref(frame), ctypes.byref(target)))

    def _planes_at(self, time: float) -> tuple[Tensor, Tensor]:
        """Pictures before they are moved, linear between frames."""
        if time in self._times:
            place = self._times.index(time)
            return self._luma[place], self._chroma[place]
        share = share_of_frames(torch.tensor(time))
        return torch.tensordot(share, self._luma, 1), torch.tensordot(share, self._chroma, 1)


def _painted(
    base: Mapping[str, Tensor],
    grid: SparseGrid,
    weights: Mapping[str, Tensor],
    times: list[float],
) -> tuple[Tensor, Tensor]:
    """Luma ``(T, H, W)`` and colour differences ``(T, 2, H/2, W/2)`` before they are moved."""
    channels, all_rows, all_columns = grid.shape
    rows, columns = weights["gate"].shape[1:]
    height, width = rows * GRID_CELL, columns * GRID_CELL
    luma = torch.empty(len(times), height, width)
    chroma = torch.empty(len(times), 2, height // 2, width // 2)
    mix = (share_of_frames(torch.tensor(times)) @ base["time"]).contiguous()
    start = _departure_point(weights)
    patterns = [(base[name].T * KERNEL_SCALE).contiguous() for name in ("luma", "chroma")]
    places = _places(channels)
    painting = _Painting(
        entries=grid.places.ctypes.data_as(POINTER(c_int32)),
        values=grid.values.ctypes.data_as(FloatPointer),
        count=len(grid.places),
        all_rows=all_rows,
        all_columns=all_columns,
        top=grid.corner[0],
        left=grid.corner[1],
        rows=rows,
        columns=columns,
        places=ctypes.cast(places.data_ptr(), POINTER(c_int32)),
        luma_patterns=floats(patterns[0]),
        chroma_patterns=floats(patterns[1]),
        mix=floats(mix),
        times=len(times),
        start_luma=None if start is None else floats(start[0]),
        start_chroma=None if start is None else floats(start[1]),
        luma_rotation=floats(rotation(GRID_CELL)),
        chroma_rotation=floats(rotation(CHROMA_CELL)),
    )
    _checked(library.built().nrv_paint(ctypes.byref(painting), floats(luma), floats(chroma)))
    return luma, chroma


def _departure_point(weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
    """``tubelet_layers.departure_point`` of one clip, without axes of one entry."""
    reference = weights.get("reference")
    if reference is None:
        return None
    rgb = reference.contiguous()
    motion = bounded(weights["motion"][4:]).contiguous()
    openness = (1 - weights["gate"][0].clamp(0, 1)).contiguous()
    rows, columns = openness.shape
    luma = torch.empty(rows * GRID_CELL, columns * GRID_CELL)
    chroma = torch.empty(2, rows * CHROMA_CELL, columns * CHROMA_CELL)
    colours = colour_matrix()
    turns = [rotation(cell).T.contiguous() for cell in (GRID_CELL, CHROMA_CELL)]
    departure = _Departure(
        rgb=floats(rgb),
        height=rgb.shape[1],
        width=rgb.shape[2],
        rows=rows,
        columns=columns,
        colours=floats(colours),
        motion=floats(motion),
        motion_rows=motion.shape[1],
        motion_columns=motion.shape[2],
        openness=floats(openness),
        luma_rotation=floats(turns[0]),
        chroma_rotation=floats(turns[1]),
    )
    _checked(library.built().nrv_depart(ctypes.byref(departure), floats(luma), floats(chroma)))
    return luma, chroma


@functools.cache
def _places(channels: int) -> Tensor:
    """Plane, temporal and spatial pattern of each channel: ``(channels, 3)`` int32."""
    places = torch.empty(channels, 3, dtype=torch.int32)
    for part in spectrum(channels).parts:
        places[part.channels, 0] = part.plane
        places[part.channels, 1] = part.time
        places[part.channels, 2] = part.patterns.int()
    return places


def _checked(status: int) -> None:
    if status:
        raise MemoryError("no memory to render a frame")
