"""Arguments of C kernels: tensors as pointers, and whether they can be read that way."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_float, c_uint8

import torch
from torch import Tensor

FloatPointer = POINTER(c_float)
BytePointer = POINTER(c_uint8)


def floats(tensor: Tensor) -> ctypes._Pointer[c_float]:
    """Of a contiguous float32 tensor on the CPU, which must outlive the call.

    Raises:
        ValueError: it is of another kind.
    """
    _check(tensor, torch.float32)
    return ctypes.cast(tensor.data_ptr(), FloatPointer)


def octets(tensor: Tensor) -> ctypes._Pointer[c_uint8]:
    """Of a contiguous uint8 tensor on the CPU, as ``floats``."""
    _check(tensor, torch.uint8)
    return ctypes.cast(tensor.data_ptr(), BytePointer)


def _check(tensor: Tensor, dtype: torch.dtype) -> None:
    is_plain = tensor.is_contiguous() and tensor.device.type == "cpu"
    if tensor.dtype != dtype or not is_plain:
        raise ValueError(f"a kernel cannot read {tensor.dtype} of strides {tensor.stride()}")
