"""This process: when it began, and how it starts and ends without looking for garbage."""

from __future__ import annotations

import atexit
import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_IMPORTED = time.monotonic()


def started() -> float:
    """Start of the process on ``time.monotonic()``; without /proc, import of this module."""
    try:
        stat = Path("/proc/self/stat").read_text(encoding="ascii")
        ticks = int(stat.rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return _IMPORTED
    return min(_IMPORTED, time.monotonic() - age)


@contextmanager
def importing() -> Iterator[None]:
    """For large imports: no search for garbage among what they make, neither now nor later."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def leave_garbage() -> None:
    """When the process ends, what is alive goes with it and need not be searched for garbage."""
    atexit.register(gc.freeze)
