"""What to do when a GPU has not enough memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from hypernet.errors import OutOfDeviceMemory


def out_of_memory(device: torch.device) -> OutOfDeviceMemory:
    """What to tell somebody whose device cannot hold the smallest piece of work."""
    return OutOfDeviceMemory(
        f"{device} has not enough free memory for one frame of this size: close what else uses "
        "it, or choose --device cpu"
    )


@contextmanager
def memory_of(device: torch.device) -> Iterator[None]:
    """Work that cannot be made smaller.

    Raises:
        OutOfDeviceMemory: the device cannot hold it.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise out_of_memory(device) from error
