"""The client against a server that behaves badly; a good one is in tests/integration."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from encoder_service.client import Client
from encoder_service.errors import InvalidConfiguration, ServiceRefused, ServiceUnreachable

SOURCE = bytes(range(10))


class Service(HTTPServer):
    """Keeps the parts it is given; one attempt to send part 2 fails."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.parts: dict[int, bytes] = {1: SOURCE[:4]}
        self.broken = True
        self.complete = False
        self.authorization: dict[str, str | None] = {}

    def upload(self) -> Any:
        sizes = {1: 4, 2: 4, 3: 2}
        missing = [
            {"number": number, "size_bytes": size, "url": f"{self.url}/part/{number}"}
            for number, size in sizes.items()
            if number not in self.parts
        ]
        return {
            "id": "upl_1",
            "source": "upload:upl_1",
            "size_bytes": len(SOURCE),
            "part_bytes": 4,
            "stored_parts": list(self.parts),
            "missing_parts": missing,
            "complete": self.complete,
        }


class Handler(BaseHTTPRequestHandler):
    server: Service

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_PUT(self) -> None:
        number = int(self.path.rpartition("/")[2])
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if number == 2 and self.server.broken:
            self.server.broken = False
            self._answer(503, b"busy")
            return
        self.server.parts[number] = body
        self._answer(200, b"")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.complete = True
        self.do_GET()

    def do_GET(self) -> None:
        self.server.authorization[self.path] = self.headers["Authorization"]
        match self.path:
            case "/v1/encodings/moved/stream":
                self._answer(307, b"", Location="/bucket/stream")
            case "/bucket/stream":
                self._answer(200, SOURCE)
            case "/v1/encodings/cut/stream":
                self._answer(200, SOURCE[:7], **{"Content-Length": str(len(SOURCE))})
            case "/v1/encodings/page":
                self._answer(200, b"<html>hello</html>")
            case "/v1/encodings/teapot":
                self._answer(418, b"<html>no</html>")
            case _:
                self._answer(200, json.dumps(self.server.upload()).encode())

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield service
        service.shutdown()
        thread.join()


def nothing(_: int) -> None:
    """Progress that nobody looks at."""


def test_an_upload_goes_on_where_it_stopped(service: Service) -> None:
    client, sent = Client(service.url, "nrv_1"), list[int]()
    with pytest.raises(ServiceUnreachable, match="503"):
        client.send_parts(client.find_upload("upl_1"), io.BytesIO(SOURCE), sent.append)
    assert (list(service.parts), sent) == ([1], [4])
    source = client.send_parts(client.find_upload("upl_1"), io.BytesIO(SOURCE), sent.append)
    assert source == "upload:upl_1"
    assert b"".join(service.parts[number] for number in (1, 2, 3)) == SOURCE
    assert service.complete
    assert sent == sorted(sent)


def test_the_key_does_not_follow_a_redirection(service: Service) -> None:
    output = io.BytesIO()
    received = Client(service.url, "nrv_1").download("moved", output, nothing)
    assert (received, output.getvalue()) == (len(SOURCE), SOURCE)
    assert service.authorization == {
        "/v1/encodings/moved/stream": "Bearer nrv_1",
        "/bucket/stream": None,
    }


def test_half_a_download_is_an_error(service: Service) -> None:
    with pytest.raises(ServiceUnreachable, match="7 of 10"):
        Client(service.url, "nrv_1").download("cut", io.BytesIO(), nothing)


def test_answers_of_something_else(service: Service) -> None:
    client = Client(f"{service.url}/", "nrv_1")
    with pytest.raises(ServiceUnreachable, match="like nrv"):
        client.encoding("page")
    with pytest.raises(ServiceRefused, match="418"):
        client.encoding("teapot")


@pytest.mark.parametrize(
    ("url", "api_key", "named"),
    [
        ("", "nrv_1", "NRV_URL"),
        ("ftp://a", "nrv_1", "NRV_URL"),
        ("http://a", "", "NRV_API_KEY"),
        ("http://a", "nrv_1\nHost: b", "NRV_API_KEY"),
    ],
)
def test_an_address_or_key_that_is_none(url: str, api_key: str, named: str) -> None:
    with pytest.raises(InvalidConfiguration, match=named):
        Client.from_environment({"NRV_URL": url, "NRV_API_KEY": api_key})
