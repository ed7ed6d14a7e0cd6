from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.hypernet.training.samples import (
    DEBUG,
    DEBUG_NERV_ENC,
    make_config,
    make_sources,
)


@pytest.mark.parametrize("shipped", [DEBUG, DEBUG_NERV_ENC])
def test_two_processes_train_one_model_and_one_of_them_writes(
    tmp_path: Path, shipped: Path
) -> None:
    sources = make_sources(tmp_path / "sources")
    config = make_config(tmp_path, sources, shipped=shipped, steps="3")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    finished = subprocess.run(
        [sys.executable, *launcher, "-m", "encoder_service.cli.main", "train", str(config)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert finished.stdout.count("3 steps") == 2
    with (tmp_path / "run" / "log.csv").open(newline="") as file:
        steps = [row["step"] for row in csv.DictReader(file)]
    assert steps == sorted(set(steps))
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()
