"""`nrv submit`, `status`, `cancel` and `fetch` as processes, against a real `nrv serve`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hypernet.bitstream.container import SIGNATURE
from tests.clips import write_clip
from tests.servers.process import free_port

NRV = [sys.executable, "-m", "encoder_service.cli.main"]


@dataclass(frozen=True, kw_only=True)
class Remote:
    """The program with the address and the key of one service."""

    environment: dict[str, str]

    def nrv(self, *arguments: object, status: int = 0, **changes: str) -> str:
        """What it prints on stdout, or on stderr when it is expected to fail."""
        finished = subprocess.run(
            [*NRV, *map(str, arguments)],
            env=self.environment | changes,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert finished.returncode == status, finished.stderr
        return finished.stdout if status == 0 else finished.stderr

    def json(self, *arguments: object) -> Any:
        printed = self.nrv(*arguments, "--json")
        assert printed.count("\n") == 1
        return json.loads(printed)


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    environment = {name: text for name, text in os.environ.items() if not name.startswith("NRV_")}
    environment["OMP_NUM_THREADS"] = "1"
    folder = tmp_path_factory.mktemp("served")
    command = [*NRV, "serve", "--data", str(folder), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        client = {"NRV_URL": said["url"], "NRV_API_KEY": said["api_key"]}
        try:
            yield Remote(environment=environment | client)
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mkv"
    write_clip(path, num_frames=8)
    return path


@pytest.fixture(scope="module")
def done(remote: Remote, clip: Path) -> Any:
    return remote.json("submit", clip, "--preset", "debug", "--steps", 2, "--wait")


def test_a_file_goes_there_and_comes_back_as_a_stream(
    remote: Remote, done: Any, tmp_path: Path
) -> None:
    assert (done["status"], done["progress"]["frames_done"]) == ("succeeded", 8)
    output = tmp_path / "out.nrv"
    assert remote.json("fetch", done["id"], "-o", output) == done["result"]
    stream = output.read_bytes()
    assert stream.startswith(SIGNATURE)
    assert len(stream) == done["result"]["stream_bytes"]
    assert "succeeded" in remote.nrv("status", done["id"])


def test_an_encoding_is_cancelled(remote: Remote, done: Any, tmp_path: Path) -> None:
    options = ("--preset", "debug", "--steps", 1_000_000, "--priority", 0, "--label", "endless")
    endless = remote.json("submit", done["source"], *options)
    assert endless["labels"] == ["endless"]
    remote.nrv("cancel", endless["id"])
    assert "cancelled" in remote.nrv("status", endless["id"], "--wait", status=6)
    output = tmp_path / "out.nrv"
    assert "cancelled" in remote.nrv("fetch", endless["id"], "-o", output, status=6)
    assert list(tmp_path.iterdir()) == []


def test_what_the_service_refuses(remote: Remote, done: Any) -> None:
    assert "API key" in remote.nrv("status", done["id"], status=4, NRV_API_KEY="nrv_wrong")
    assert "not_found" in remote.nrv("status", "../enc_x", status=4)
    assert "quality" in remote.nrv("submit", done["source"], "--quality", 101, status=4)
    assert "access.denied" in remote.nrv("submit", "s3://secret/clip.mp4", status=4)


def test_a_service_that_does_not_answer(remote: Remote) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert "does not answer" in remote.nrv("status", "enc_x", status=4, NRV_URL=url)


def test_wrong_use_and_wrong_files(remote: Remote, done: Any, tmp_path: Path) -> None:
    assert "NRV_URL" in remote.nrv("status", "enc_x", status=2, NRV_URL="")
    assert "NRV_API_KEY" in remote.nrv("status", "enc_x", status=2, NRV_API_KEY="")
    assert "missing.mp4" in remote.nrv("submit", tmp_path / "missing.mp4", status=3)
    (tmp_path / "empty.mp4").touch()
    assert "is empty" in remote.nrv("submit", tmp_path / "empty.mp4", status=3)
    nowhere = tmp_path / "missing" / "out.nrv"
    assert "cannot write" in remote.nrv("fetch", done["id"], "-o", nowhere, status=5)
