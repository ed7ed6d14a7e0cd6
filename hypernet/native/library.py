"""The compiled kernels, where they were built."""

from __future__ import annotations

import ctypes
import functools
import importlib.machinery
from pathlib import Path

_FOLDER = Path(__file__).parent


@functools.cache
def kernels() -> ctypes.CDLL | None:
    """The library of all C kernels; None where there was no compiler. Calls release the GIL."""
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = _FOLDER / f"_kernels{suffix}"
        if path.is_file():
            return _loaded(path)
    return None


def built() -> ctypes.CDLL:
    """The library.

    Raises:
        ValueError: it was not built; who calls this has asked ``kernels`` before.
    """
    library = kernels()
    if library is None:
        raise ValueError("the C kernels were not built")
    return library


def _loaded(path: Path) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(str(path))
    except OSError:  # built on another kind of machine
        return None
