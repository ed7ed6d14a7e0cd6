from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hypernet.bitstream.sources import BytesSource, CountingSource, FileSource, HttpSource
from hypernet.errors import InvalidStream, UnreadableInput

DATA = bytes(range(256)) * 40


class RangeHandler(BaseHTTPRequestHandler):
    """Serves DATA; the path chooses how it misbehaves."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        kind = self.path.split("?")[0]
        refusals: dict[str, tuple[int, dict[str, str], bytes]] = {
            "/redirect": (302, {"Location": "/data"}, b""),
            "/away": (302, {"Location": "ftp://127.0.0.1/data"}, b""),
            "/missing": (404, {}, b""),
            "/whole": (200, {}, DATA),
        }
        if self.headers["Authorization"] != "Bearer key":
            refusals["/private"] = (401, {}, b"")
        if kind in refusals:
            return self.reply(*refusals[kind])
        body, size = DATA[first : last + 1], len(DATA)
        if kind == "/short" and len(body) > 1:
            body = body[:-1]
        if kind == "/shifted" and len(body) > 1:
            first, last = first + 1, last + 1
        if kind == "/grows" and len(body) > 1:
            size += 1
        value = "nonsense" if kind == "/unlabelled" else f"bytes {first}-{last}/{size}"
        cut = kind == "/cut" and len(body) > 1
        return self.reply(206, {"Content-Range": value}, body, cut=cut)

    def reply(
        self, status: int, headers: dict[str, str], body: bytes, *, cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:-1] if cut else body)
        self.close_connection = cut

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), RangeHandler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "data").write_bytes(DATA)
    return tmp_path / "data"


def read_around(source: BytesSource | FileSource | HttpSource) -> None:
    assert source.size() == len(DATA)
    assert source.read(0, 4) == DATA[:4]
    assert source.read(1000, 3000) == DATA[1000:4000]
    assert source.read(len(DATA) - 1, 1) == DATA[-1:]
    assert source.read(7, 0) == b""
    for offset, length in ((0, len(DATA) + 1), (len(DATA), 1), (-1, 1), (0, -1)):
        with pytest.raises(InvalidStream, match="truncated"):
            source.read(offset, length)


def test_bytes() -> None:
    read_around(BytesSource(DATA))


def test_file(path: Path) -> None:
    with FileSource(path) as source:
        read_around(source)


def test_http(address: str) -> None:
    read_around(HttpSource(address + "/data"))


def test_http_follows_redirects_and_sends_headers(address: str) -> None:
    read_around(HttpSource(address + "/redirect"))
    read_around(HttpSource(address + "/private", headers={"Authorization": "Bearer key"}))


@pytest.mark.parametrize("name", ["missing", ".", "data/child"])
def test_a_file_that_cannot_be_opened_is_named(path: Path, name: str) -> None:
    with pytest.raises(UnreadableInput, match="cannot read"):
        FileSource(path.parent / name)


def test_a_file_that_shrinks_is_noticed(path: Path) -> None:
    with FileSource(path) as source:
        os.truncate(path, 100)
        with pytest.raises(InvalidStream, match="shorter"):
            source.read(50, 100)


def test_a_read_error_is_translated(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: int) -> bytes:
        raise OSError(5, "Input/output error")

    with FileSource(path) as source:
        monkeypatch.setattr(os, "pread", fail)
        with pytest.raises(UnreadableInput, match="Input/output error"):
            source.read(0, 10)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "data", "http:///x"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(UnreadableInput, match="not an http"):
        HttpSource(url)


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("missing", UnreadableInput, "answered 404"),
        ("private", UnreadableInput, "answered 401"),
        ("whole", UnreadableInput, "ignores Range"),
        ("unlabelled", UnreadableInput, "no valid Content-Range"),
        ("away", UnreadableInput, "answered 302|cannot be read"),
        ("short", InvalidStream, "19 bytes came for a range of 20"),
        ("shifted", InvalidStream, "another range"),
        ("grows", InvalidStream, "changed its size"),
        ("cut", InvalidStream, "19 bytes came for a range of 20"),
    ],
)
def test_servers_that_misbehave(
    address: str, kind: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        HttpSource(f"{address}/{kind}?signature=secret").read(100, 20)
    assert "secret" not in str(caught.value)


def test_a_server_that_is_not_there(unused_port: Callable[[], int]) -> None:
    with pytest.raises(UnreadableInput, match=r"cannot be read: .*refused"):
        HttpSource(f"http://127.0.0.1:{unused_port()}/x").size()


@pytest.fixture
def unused_port() -> Callable[[], int]:
    def find() -> int:
        server = ThreadingHTTPServer(("127.0.0.1", 0), RangeHandler)
        server.server_close()
        return int(server.server_address[1])

    return find


def test_counting() -> None:
    source = CountingSource(BytesSource(DATA))
    assert source.size() == len(DATA)
    assert source.read(3, 10) == DATA[3:13]
    source.read(0, 1)
    assert source.reads == [(3, 10), (0, 1)]
    assert source.bytes_read == 11
