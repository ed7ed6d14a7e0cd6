"""Training on several devices, one process each, as ``torchrun`` starts them.

``torchrun --nproc-per-node 4 -m encoder_service.cli.main train CONFIG``: every process draws its
own pairs, gradients are averaged by torch, the first process writes. Without torchrun there is one
process, and nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True, kw_only=True, slots=True)
class Processes:
    """This process among those that train one model.

    Attributes:
        rank: 0 is the first, which alone writes.
        count: of all processes.
        device: where this one computes.
    """

    rank: int = 0
    count: int = 1
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def turn(self, step: int) -> int:
        """A number for this process and step that no other process or step has."""
        return step * self.count + self.rank

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            distributed.barrier()

    def shared(self, module: nn.Module) -> nn.Module:
        """The module, with gradients that are the mean over all processes after ``backward``."""
        if self.count == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=devices)


@contextmanager
def joined() -> Iterator[Processes]:
    """This process, joined with the others that torchrun started."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    cuda = torch.cuda.is_available()
    device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if cuda else "cpu")
    if count == 1:
        yield Processes(device=torch.device("cuda" if cuda else "cpu"))
        return
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Processes(rank=distributed.get_rank(), count=count, device=device)
    finally:
        distributed.destroy_process_group()
