"""`nrv serve` as a whole: real processes, stopped and killed."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from encoder_service.errors import InvalidConfiguration
from encoder_service.serve import serve
from tests.clips import write_clip
from tests.http import Answer, ask

PROGRAM = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from encoder_service.serve import serve
serve(Path(sys.argv[1]), 0, announce=lambda said: print(json.dumps(asdict(said)), flush=True))
"""


class Served:
    """One running service."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(data_dir)],
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self.process.stdout is not None
        said = json.loads(self.process.stdout.readline())
        self.url, self.api_key = said["url"], said["api_key"]
        self.flower_url = said["flower_url"]
        self.flower_login = f"{said['flower_user']}:{said['flower_password']}"
        self.family = psutil.Process(self.process.pid).children(recursive=True)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        headers = {"Authorization": f"Bearer {self.api_key}", **headers}
        return ask(method, f"{self.url}{path}", body, headers)

    def submit(self, clip: bytes, **wanted: Any) -> str:
        upload = json.loads(
            self.ask(
                "POST",
                "/v1/uploads",
                json.dumps({"size_bytes": len(clip)}).encode(),
                **{"Content-Type": "application/json"},
            ).body
        )
        for part in upload["missing_parts"]:
            assert ask("PUT", part["url"], clip).status == 200
        assert self.ask("POST", f"/v1/uploads/{upload['id']}/complete", b"").status == 200
        wanted = {"source": upload["source"], "preset": "debug", **wanted}
        answer = self.ask(
            "POST",
            "/v1/encodings",
            json.dumps(wanted).encode(),
            **{"Content-Type": "application/json"},
        )
        assert answer.status == 202, answer.body
        return str(json.loads(answer.body)["id"])

    def encoding(self, encoding_id: str) -> Any:
        return json.loads(self.ask("GET", f"/v1/encodings/{encoding_id}").body)

    def wait_until(self, encoding_id: str, holds: Callable[[Any], bool]) -> Any:
        pause = threading.Event()
        for _ in range(1800):  # a busy machine takes its time
            seen = self.encoding(encoding_id)
            if holds(seen):
                return seen
            pause.wait(0.1)
        logs = [path.read_text()[-3000:] for path in (self.data_dir / "logs").glob("*.log")]
        raise AssertionError(f"{seen}\n{''.join(logs)}")

    def end(self, how: signal.Signals) -> int:
        self.family = psutil.Process(self.process.pid).children(recursive=True) or self.family
        self.process.send_signal(how)
        status = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        _, alive = psutil.wait_procs(self.family, timeout=30)
        assert alive == []
        return status


def is_at_work(seen: Any) -> bool:
    return bool(seen["segments"]) and seen["segments"][0]["status"] == "leased"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def clip(tmp_path: Path) -> bytes:
    write_clip(tmp_path / "clip.mkv", num_frames=8)
    return (tmp_path / "clip.mkv").read_bytes()


@pytest.fixture
def served(data_dir: Path) -> Iterator[Served]:
    served = Served(data_dir)
    yield served
    if served.process.poll() is None:
        served.end(signal.SIGTERM)


def test_upload_encode_download_stop_and_come_back(
    served: Served, clip: bytes, data_dir: Path
) -> None:
    encoding_id = served.submit(clip, steps=2)
    done = served.wait_until(encoding_id, lambda seen: seen["status"] == "succeeded")
    stream = served.ask("GET", f"/v1/encodings/{encoding_id}/stream").body
    assert len(stream) == done["result"]["stream_bytes"]

    assert ask("GET", f"{served.flower_url}/api/workers").status == 401
    login = base64.b64encode(served.flower_login.encode()).decode()
    headers = {"Authorization": f"Basic {login}"}
    assert ask("GET", f"{served.flower_url}/api/tasks", headers=headers).status == 200

    endless = served.submit(clip, steps=1_000_000, seed=1)
    served.wait_until(endless, is_at_work)
    assert served.end(signal.SIGTERM) == 0

    again = Served(data_dir)
    try:
        assert again.api_key == served.api_key
        assert again.ask("GET", f"/v1/encodings/{encoding_id}/stream").body == stream
        (segment,) = again.wait_until(endless, is_at_work)["segments"]
        assert (segment["attempts"], segment["error_code"]) == (2, "cancelled")  # given back
    finally:
        assert again.end(signal.SIGKILL) == -signal.SIGKILL
    third = Served(data_dir)
    try:
        assert third.ask("DELETE", f"/v1/encodings/{endless}").status == 202
        assert third.encoding(endless)["cancel_requested"]
    finally:
        assert third.end(signal.SIGINT) == 0


def test_a_folder_serves_once(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InvalidConfiguration, match="another nrv serve"):
            serve(tmp_path, 0, announce=lambda _: None)


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(InvalidConfiguration, match="--port"):
            serve(tmp_path, other.getsockname()[1], announce=lambda _: None)


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidConfiguration, match="cannot use"):
        serve(tmp_path / "file" / "data", 0, announce=lambda _: None)
