"""Integers of which most are zero, as places and values."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypernet.native import library

SPARSE_SHARE = 0.25
"""Tensors with fewer values than this that are not zero are kept as places and values."""

Integers = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PackedIntegers:
    """An int32 tensor; ``places`` in the flat tensor are given where most values are zero."""

    shape: tuple[int, ...]
    values: Integers
    places: Integers | None = None

    @classmethod
    def pack(cls, symbols: Integers) -> PackedIntegers:
        """As few bytes as it takes."""
        flat = np.ascontiguousarray(symbols).ravel()
        sparse = _sparse(flat, int(SPARSE_SHARE * flat.size))
        if sparse is None:
            return cls(shape=symbols.shape, values=flat)
        return cls(shape=symbols.shape, places=sparse[0], values=sparse[1])

    def unpack(self, scale: float, device: torch.device) -> Tensor:
        """The integers times ``scale``, float32, on a device."""
        values = torch.from_numpy(self.values).to(device).float() * scale
        if self.places is None:
            return values.view(self.shape)
        flat = torch.zeros(int(np.prod(self.shape)), device=device)
        flat[torch.from_numpy(self.places).to(device).long()] = values
        return flat.view(self.shape)

    def sparse(self) -> tuple[Integers, Integers]:
        """Places and values, whatever their share."""
        if self.places is not None:
            return self.places, self.values
        places = np.flatnonzero(self.values).astype(np.int32)
        return places, self.values[places]


def _sparse(flat: Integers, room: int) -> tuple[Integers, Integers] | None:
    """Places and values of what is not zero; None if there are more than ``room``."""
    kernels = library.kernels()
    if kernels is None:
        places = np.flatnonzero(flat)
        return None if len(places) > room else (places.astype(np.int32), flat[places])
    buffers = np.empty((2, room), np.int32)
    kernels.nrv_pack.restype = ctypes.c_int64
    count = kernels.nrv_pack(
        flat.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_int64(flat.size),
        ctypes.c_int64(room),
        *(buffer.ctypes.data_as(ctypes.c_void_p) for buffer in buffers),
    )
    return None if count < 0 else (buffers[0, :count].copy(), buffers[1, :count].copy())
