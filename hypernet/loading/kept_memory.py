"""Processes that decode clip after clip keep the memory of the last for the next."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_KEPT_BYTES = 256 << 20
_LARGEST_BYTES = 32 << 20
"""The largest block that is kept; glibc refuses a higher bound."""


def keep_memory(_worker: int = 0) -> None:
    """Have the C library keep what is freed, up to 256 MiB; one other than glibc is left alone.

    Fresh pages cost time: the kernel must clear them.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, _LARGEST_BYTES)
