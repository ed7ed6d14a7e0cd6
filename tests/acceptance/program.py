"""The installed ``nrv`` program, as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

NRV = Path(sys.executable).with_name("nrv")
QUICK = ("--preset", "debug", "--steps", "2", "--device", "cpu")


def command(*arguments: object) -> list[str]:
    return [str(NRV), *map(str, arguments)]


def environment(**changes: str) -> dict[str, str]:
    """This process's, with one thread unless something else is asked for."""
    return os.environ | {"OMP_NUM_THREADS": "1"} | changes


def nrv(
    *arguments: object, status: int = 0, before: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the program and check its exit status; ``before`` is called in the new process."""
    finished = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env=environment(),
        preexec_fn=before,
    )
    assert finished.returncode == status, finished.stderr
    return finished


def nrv_json(*arguments: object) -> dict[str, Any]:
    """The one object that the program prints on stdout; nothing may be on stderr."""
    finished = nrv(*arguments, "--json")
    fields: dict[str, Any] = json.loads(finished.stdout)
    assert finished.stdout.count("\n") == 1
    assert finished.stderr == ""
    return fields
