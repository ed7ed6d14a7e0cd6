"""A whole service for as long as somebody needs one: `nrv serve` in a folder that is gone then."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from encoder_service.client import Client
from encoder_service.errors import ServiceUnreachable

STOP_SECONDS = 30.0
PROGRAM = "encoder_service.cli.main"


@contextmanager
def temporary_service(log: Path) -> Iterator[Client]:
    """Start a service on a free port of this machine; it ends with the block, or with us.

    Args:
        log: a file for what it says on the way.

    Raises:
        ServiceUnreachable: it did not start; the log says why.
    """
    with TemporaryDirectory(prefix="nrv-service-") as folder, log.open("wb") as errors:
        # Ended by the kernel when we are killed; Ctrl-C is for us, who then stop it in order.
        wrapper = [sys.executable, "-m", "encoder_service.children", str(os.getpid())]
        serve = [sys.executable, "-m", PROGRAM, "serve", "--data", folder, "--port", "0", "--json"]
        with subprocess.Popen(  # noqa: S603 - our own program
            [*wrapper, *serve], stdout=subprocess.PIPE, stderr=errors, start_new_session=True
        ) as process:
            try:
                yield _client(process, log)
            finally:
                _stop(process)


def _client(process: subprocess.Popen[bytes], log: Path) -> Client:
    line = process.stdout.readline() if process.stdout is not None else b""
    try:
        said = json.loads(line)
    except ValueError:
        raise ServiceUnreachable(f"the service did not start; see {log}") from None
    return Client(said["url"], said["api_key"])


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
