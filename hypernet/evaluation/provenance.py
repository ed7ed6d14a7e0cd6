"""Where a measurement comes from: the code's commit, the processor, the load."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import torch

UNKNOWN = "unknown"

_PACKAGE = Path(__file__).resolve().parent.parent


def commit(package: Path = _PACKAGE) -> str:
    """Short hash of the commit a package runs from, ``+dirty`` if the package was changed.

    ``unknown`` outside a git checkout, or where no file of the package is committed. Files outside
    the package (tables, documentation) do not make it dirty.
    """
    if not _git(package, "ls-files", "."):
        return UNKNOWN
    head = _git(package, "rev-parse", "--short=10", "HEAD")
    changes = _git(package, "status", "--porcelain", ".")
    if head is None or changes is None:
        return UNKNOWN
    return f"{head}+dirty" if changes else head


def processor() -> str:
    """The processor's model name and the widest vectors that torch uses of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name} {torch.backends.cpu.get_cpu_capability()}"


def load_average() -> float | None:
    """Runnable processes over the last minute; None where the system does not tell."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints, or None when it fails or is not installed."""
    try:
        done = subprocess.run(  # noqa: S603 -- fixed arguments
            ["git", *arguments],  # noqa: S607 -- the user's git
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
