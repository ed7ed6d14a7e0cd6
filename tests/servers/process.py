"""A server process that is certain to be gone when the tests are."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

START_SECONDS = 30.0
STOP_SECONDS = 10.0


class ServerProcess:
    """One server in the foreground: started, watched while it starts, and always killed."""

    def __init__(
        self,
        command: list[str],
        *,
        log: Path,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*_dies_with_us(user), *command],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Poll ``ready`` until it holds; if that never comes, fail with the server's log."""
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"server did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.02)

    def stop(self, ask: signal.Signals = signal.SIGTERM) -> None:
        """Ask politely, then kill."""
        self._process.send_signal(ask)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def _dies_with_us(user: str | None) -> list[str]:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return []
    identity = [] if user is None else [f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    return [setpriv, "--pdeathsig=KILL", *identity, "--"]


def free_port() -> int:
    """A TCP port on the loopback that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def accepts_connections(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
