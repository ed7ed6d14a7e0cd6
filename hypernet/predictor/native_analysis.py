"""What analysis computes by C kernels, on a CPU: a quarter of the time that torch takes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import Structure, c_float, c_int

import torch
from torch import Tensor

from hypernet.decoders.lapped import rotation
from hypernet.decoders.spectrum import colour_matrix
from hypernet.native import library
from hypernet.native.pointers import BytePointer, FloatPointer, floats, octets


class _Alignment(Structure):
    _fields_ = (
        ("pictures", FloatPointer),
        ("moments", c_int),
        ("height", c_int),
        ("width", c_int),
        ("target", FloatPointer),
        ("shares", FloatPointer),
        ("cell", c_int),
        ("rows", c_int),
        ("columns", c_int),
        ("softness", c_float),
    )


class _Picture(Structure):
    _fields_ = (
        ("rgb", BytePointer),
        ("height", c_int),
        ("width", c_int),
        ("rows", c_int),
        ("columns", c_int),
        ("colours", FloatPointer),
        ("luma", FloatPointer),
        ("chroma", FloatPointer),
        ("half_luma", FloatPointer),
    )


class NativeAlignment:
    """How far pictures of clips are from what they should look like, once they are moved.

    Args:
        pictures_BTHW: that are moved, float32 on the CPU, at least 2 pixels high and wide.
        target_B1HW: what they should look like then; their mean without one.
        cell: pixels along each side of the squares that have one displacement.
        softness: differences well above it count in ``slopes`` by their size only, and little in
            ``products``.
    """

    def __init__(
        self,
        pictures_BTHW: Tensor,
        target_B1HW: Tensor | None,
        *,
        cell: int,
        softness: float = 1.0,
    ) -> None:
        self._pictures = pictures_BTHW.contiguous()
        self._target = None if target_B1HW is None else target_B1HW.contiguous()
        self._cell, self._softness = cell, softness

    def slopes(self, motion_BT2hw: Tensor) -> Tensor:
        """Of the sum of smooth L1 errors, for each displacement in pixels."""
        slopes = torch.empty_like(motion_BT2hw, memory_format=torch.contiguous_format)
        return self._filled(slopes, library.built().nrv_alignment_slope, motion_BT2hw)

    def errors(self, motion_BT2hw: Tensor) -> Tensor:
        """Mean absolute error of each square, ``(B, 1, h, w)``."""
        errors = motion_BT2hw.new_empty(len(motion_BT2hw), 1, *motion_BT2hw.shape[3:])
        return self._filled(errors, library.built().nrv_alignment_errors, motion_BT2hw)

    def products(self, motion_BT2hw: Tensor, shares_T: Tensor) -> Tensor:
        """Sums of products for one Gauss-Newton step of each square, ``(B, 5, h, w)``.

        Of slopes by x and y: xx, xy, yy; of slopes and errors: x, y. What is sought moves each
        picture by its share.
        """
        sums = motion_BT2hw.new_empty(len(motion_BT2hw), 5, *motion_BT2hw.shape[3:])
        shares = shares_T.contiguous()
        return self._filled(sums, library.built().nrv_least_squares, motion_BT2hw, shares)

    def _filled(
        self,
        out: Tensor,
        kernel: Callable[..., int],
        motion_BT2hw: Tensor,
        shares: Tensor | None = None,
    ) -> Tensor:
        for number, motion in enumerate(motion_BT2hw.contiguous()):
            alignment = self._alignment(number, motion.shape[-2:], shares)
            if kernel(ctypes.byref(alignment), floats(motion), floats(out[number])):
                raise MemoryError("no memory to seek motion")
        return out

    def _alignment(self, number: int, squares: torch.Size, shares: Tensor | None) -> _Alignment:
        _, moments, height, width = self._pictures.shape
        return _Alignment(
            pictures=floats(self._pictures[number]),
            moments=moments,
            height=height,
            width=width,
            target=None if self._target is None else floats(self._target[number]),
            shares=None if shares is None else floats(shares),
            cell=self._cell,
            rows=squares[0],
            columns=squares[1],
            softness=self._softness,
        )


def line_up(planes_CHW: Tensor, field_2hw: Tensor) -> None:
    """Move the planes of a picture in place, bicubic, along a field of a smaller picture.

    Args:
        planes_CHW: float32 on the CPU.
        field_2hw: x and y in its own pixels, as many of which fit into the planes' in both
            directions.
    """
    count, height, width = planes_CHW.shape
    rows, columns = field_2hw.shape[1:]
    cell = height // rows
    if (rows * cell, columns * cell) != (height, width):
        raise ValueError(f"a field of {rows}x{columns} for pictures of {height}x{width}")
    planes, field = floats(planes_CHW), floats(field_2hw)
    if library.built().nrv_line_up(planes, count, height, width, field, rows, columns, cell):
        raise MemoryError("no memory to line pictures up")


def lap(planes: Tensor, cell: int) -> None:
    """``lapped`` in place: planes ``(..., H, W)`` of whole cells, float32 on the CPU."""
    if cell not in {8, 16}:
        raise ValueError(f"cells of {cell} pixels")
    height, width = planes.shape[-2:]
    count = planes.numel() // (height * width)
    turned = rotation(cell).T.contiguous()
    library.built().nrv_lap(floats(planes), count, height, width, cell, floats(turned))


def read_planes(frame_CHW: Tensor, luma_1HW: Tensor, chroma_2hw: Tensor) -> None:
    """``planes_of`` an 8-bit frame; the border repeats in planes that are larger."""
    _, rows, columns = luma_1HW.shape
    _read(frame_CHW, rows, columns, luma=floats(luma_1HW), chroma=floats(chroma_2hw))


def read_half_luma(frame_CHW: Tensor, half_hw: Tensor) -> None:
    """Luma of an 8-bit frame at half size; the border repeats if that is larger."""
    rows, columns = half_hw.shape
    _read(frame_CHW, 2 * rows, 2 * columns, half_luma=floats(half_hw))


def _read(frame_CHW: Tensor, rows: int, columns: int, **planes: object) -> None:
    frame_HWC, colours = frame_CHW.permute(1, 2, 0).contiguous(), colour_matrix().contiguous()
    picture = _Picture(
        rgb=octets(frame_HWC),
        height=frame_HWC.shape[0],
        width=frame_HWC.shape[1],
        rows=rows,
        columns=columns,
        colours=floats(colours),
        **planes,
    )
    if library.built().nrv_planes(ctypes.byref(picture)):
        raise MemoryError("no memory to read a frame")


def can_read(frames: Tensor) -> bool:
    """Whether there is a kernel for these frames."""
    fits = frames.device.type == "cpu" and frames.dtype == torch.uint8
    return fits and library.kernels() is not None


def can_align(pictures_BTHW: Tensor) -> bool:
    """Whether the kernel is there, and made for this."""
    fits = pictures_BTHW.device.type == "cpu" and pictures_BTHW.dtype == torch.float32
    return fits and min(pictures_BTHW.shape[-2:]) >= 2 and library.kernels() is not None
