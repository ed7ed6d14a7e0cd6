"""Proves that a file is not touched: the kernel reports every opening and reading of it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_IN_ACCESS, _IN_OPEN = 0x1, 0x20


class Watch:
    """Whether the watched file has been opened or read since the watch began."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @property
    def touched(self) -> bool:
        try:
            return len(os.read(self._descriptor, 4096)) > 0
        except BlockingIOError:
            return False


@contextmanager
def watch(path: Path) -> Iterator[Watch]:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK)
    assert descriptor >= 0
    try:
        assert libc.inotify_add_watch(descriptor, os.fsencode(path), _IN_ACCESS | _IN_OPEN) >= 0
        yield Watch(descriptor)
    finally:
        os.close(descriptor)
