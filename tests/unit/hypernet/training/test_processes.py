from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.multiprocessing.spawn import spawn

from hypernet.training.processes import joined


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _gradient_of(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_RANK": str(rank),
    }
    with joined() as processes:
        line = nn.Linear(1, 1, bias=False)
        shared = processes.shared(line)
        loss = shared(torch.tensor([[float(rank + 1)]])).sum()
        torch.autograd.backward(loss)
        processes.wait()
        assert line.weight.grad is not None
        seen = f"{float(line.weight.grad)} {processes.is_first} {processes.turn(5)}"
        (Path(folder) / str(rank)).write_text(seen)


def test_two_processes_have_the_mean_gradient_and_turns_of_their_own(tmp_path: Path) -> None:
    spawn(_gradient_of, (_free_port(), str(tmp_path)), nprocs=2)  # type: ignore[no-untyped-call]
    assert (tmp_path / "0").read_text() == "1.5 True 10"
    assert (tmp_path / "1").read_text() == "1.5 False 11"


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    module = nn.Linear(1, 1)
    with joined() as processes:
        assert processes.is_first
        assert processes.turn(7) == 7
        assert processes.shared(module) is module
        processes.wait()
