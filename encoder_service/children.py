"""Processes that we start, watch, and stop; none of them outlives us."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from encoder_service.telemetry import fields

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1  # linux/prctl.h
WATCH_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Child:
    """What to run."""

    name: str
    command: Sequence[str]
    stop_seconds: float = 5.0  # between asking it to stop and killing it


class Children:
    """Runs children until the block ends; one that ends before is started again.

    Args:
        children: started in this order, stopped in the opposite one.
        environment: of every child.
        logs: a folder for what they print, one file per child.
    """

    def __init__(
        self, children: Sequence[Child], environment: Mapping[str, str], logs: Path
    ) -> None:
        self._children = children
        self._environment = dict(environment)
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="children", daemon=True)

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        for child in self._children:
            self._start(child)
        self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._watcher.join()
        for child in reversed(self._children):
            _stop(self._running[child.name], child.stop_seconds)

    def _start(self, child: Child) -> None:
        wrapper = [sys.executable, "-m", "encoder_service.children", str(os.getpid())]
        with (self._logs / f"{child.name}.log").open("ab") as output:
            self._running[child.name] = subprocess.Popen(  # noqa: S603 - our own commands
                [*wrapper, *child.command],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we stop them in order
            )

    def _watch(self) -> None:
        while not self._stopping.wait(WATCH_SECONDS):
            for child in self._children:
                status = self._running[child.name].poll()
                if status is not None:
                    log.error("process ended", extra=fields(process=child.name, status=status))
                    self._start(child)


def _stop(process: subprocess.Popen[bytes], seconds: float) -> None:
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def become(parent: int, command: Sequence[str]) -> None:
    """Turn this process into ``command``, to be killed when ``parent`` ends in whatever way."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent is gone already")
    os.execv(command[0], list(command))  # noqa: S606 - no shell


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])
