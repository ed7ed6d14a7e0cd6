"""The first page over the whole API, and in a browser where there is one."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from starlette.testclient import TestClient

from encoder_service.api.app import create_app
from encoder_service.api.context import Context
from encoder_service.api_keys import create_key
from hypernet.preset_names import DEFAULT_PRESET, PRESET_NAMES
from tests.factories import Service

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run")
OFFLINE = ("--disable-background-networking", "--disable-component-update", "--disable-sync")


def test_the_first_page_wants_no_key(api: TestClient) -> None:
    answer = api.get("/", headers={"Authorization": ""})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")


def test_what_can_be_chosen_stands_where_the_page_looks(api: TestClient) -> None:
    body = api.get("/openapi.json").json()["paths"]["/v1/encodings"]["post"]["requestBody"]
    properties = body["content"]["application/json"]["schema"]["properties"]
    assert properties["preset"]["enum"] == list(PRESET_NAMES)
    assert properties["preset"]["default"] == DEFAULT_PRESET


@pytest.fixture
def served(context: Context) -> Iterator[str]:
    """The API on a port of this machine; yields its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(create_app(context), log_config=None)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
def test_a_browser_shows_encodings_as_text(
    context: Context, service: Service, served: str, tmp_path: Path
) -> None:
    key, secret = create_key(context.database, "browser")
    service.jobs.owner_id = key.id
    settings = {"preset": "<img src=x onerror=alert(1)>"}
    encoding_id = service.jobs.submit(source="upload:none", settings=settings).id
    done = service.submit(8)
    address, profile = f"{served}/#{secret}", f"--user-data-dir={tmp_path}/profile"
    command = [str(BROWSER), *QUIET, *OFFLINE, profile, "--virtual-time-budget=3000", "--dump-dom"]
    seen = subprocess.run(
        [*command, address], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    assert f'title="{encoding_id}"' in seen
    assert f'title="{done}"' in seen
    assert "&lt;img src=x onerror=alert(1)&gt;" in seen
    assert re.search(r'<option value="debug">debug</option>', seen)
    assert secret not in seen
