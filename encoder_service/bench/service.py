"""The service to be measured: an API and workers of our own on the servers that are configured."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from encoder_service.api_keys import create_key
from encoder_service.bench.open_loop import Call, Client
from encoder_service.children import Child, Children
from encoder_service.client import Client as ServiceClient
from encoder_service.database import Database
from encoder_service.errors import InvalidConfiguration, ServiceUnreachable
from encoder_service.schema import upgrade
from encoder_service.settings import Settings
from encoder_service.storage.locations import Locations

HOST = "127.0.0.1"
BUCKET = "bench"  # that sources are said to lie in; nobody looks
START_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """What measurements work with."""

    settings: Settings
    database: Database
    owner_id: str
    client: Client
    remote: ServiceClient
    folder: Path


def configured(environ: Mapping[str, str]) -> Settings:
    """The settings, if they are fit for a benchmark.

    Raises:
        InvalidConfiguration: the database is not PostgreSQL.
    """
    settings = Settings.from_environment(environ)
    unlimited = replace(settings.api, requests_per_second=0)  # one key stands for many clients
    if not settings.database.url.startswith("postgresql"):
        raise InvalidConfiguration(
            "nrv bench service fills a database: name a PostgreSQL one of its own with "
            "NRV_DATABASE_URL, and a broker with NRV_QUEUE_URL"
        )
    storage = replace(settings.storage, source_buckets=(BUCKET,))
    return replace(settings, api=unlimited, storage=storage)


@contextmanager
def running_api(settings: Settings, folder: Path, *, processes: int) -> Iterator[Service]:
    """An API that ends with the block."""
    port = _free_port()
    url = f"http://{HOST}:{port}"
    settings = replace(settings, api=replace(settings.api, url=url))
    database = Database(settings.database)
    upgrade(database)
    Locations(settings.storage, base_url=url).own.prepare()
    key, secret = create_key(database, "nrv bench service")
    serve = ["api", "--host", HOST, "--port", str(port), "--processes", str(processes)]
    command = [sys.executable, "-m", "encoder_service.cli.main", *serve]
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    service = Service(
        settings=settings,
        database=database,
        owner_id=key.id,
        client=Client(url, headers),
        remote=ServiceClient(url, secret),
        folder=folder,
    )
    with Children([Child(name="api", command=command)], environment(settings), folder / "logs"):
        _wait_for(service)
        yield service
    database.close()


@contextmanager
def running_workers(service: Service, number: int) -> Iterator[None]:
    """Workers of one thread each, and a sweeper, that end with the block."""
    python = [sys.executable, "-m"]
    children = [
        Child(
            name=f"worker-{index}",
            command=[*python, "workers", "--name", f"bench-{index}@%h"],
            stop_seconds=15,
        )
        for index in range(number)
    ]
    sweeper = Child(name="sweeper", command=[*python, "workers.sweeper"])
    surroundings = {**environment(service.settings), "OMP_NUM_THREADS": "1"}
    with Children([*children, sweeper], surroundings, service.folder / "logs"):
        yield


def environment(settings: Settings) -> dict[str, str]:
    """Ours, with these settings."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("NRV_")}
    return {**inherited, **settings.to_environment()}


def _wait_for(service: Service) -> None:
    pause = threading.Event()
    for _ in range(int(START_SECONDS / 0.1)):
        if service.client.send(Call(name="", method="GET", path="/readyz"))[0] == 200:
            return
        pause.wait(0.1)
    log = (service.folder / "logs" / "api.log").read_text()
    raise ServiceUnreachable(f"the API did not start:\n{log[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
