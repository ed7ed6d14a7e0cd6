"""Runs a command with the test servers around it: ``python -m tests.servers nrv bench service``."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer
from tests.servers.swift import SwiftServer


def main(command: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="nrv-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for each in ("postgres", "redis", "swift"):
            (folder / each).mkdir()
        postgres = PostgresServer(folder / "postgres")
        redis, swift = RedisServer(folder / "redis"), SwiftServer(folder / "swift")
        settings = {
            "NRV_DATABASE_URL": postgres.new_database(),
            "NRV_QUEUE_URL": redis.url,
            "NRV_STORAGE_URL": f"s3://{swift.new_bucket('nrv')}",
            "NRV_STORAGE_ENDPOINT": swift.endpoint,
            "NRV_STORAGE_REGION": swift.region,
            "NRV_STORAGE_ACCESS_KEY": swift.access_key,
            "NRV_STORAGE_SECRET_KEY": swift.secret_key,
            "NRV_WORKER_SCRATCH": str(folder / "scratch"),
        }
        try:
            return subprocess.run(command, check=False, env={**os.environ, **settings}).returncode
        finally:
            swift.stop()
            redis.stop()
            postgres.discard()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
