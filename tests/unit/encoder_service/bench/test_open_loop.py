from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from encoder_service.bench.open_loop import CONNECTIONS, Call, Client, open_loop


def calls(number: int) -> list[Call]:
    return [Call(name="one", method="GET", path=f"/{index}") for index in range(number)]


def test_every_call_is_sent_once() -> None:
    seen: list[str] = []

    def send(call: Call) -> tuple[int, bytes]:
        seen.append(call.path)
        return 200, call.path.encode()

    samples = open_loop(send, calls(50), per_second=1000)
    assert sorted(seen) == sorted(call.path for call in calls(50))
    assert {sample.status for sample in samples} == {200}
    assert sorted(sample.body.decode() for sample in samples) == sorted(seen)


def test_a_call_counts_from_when_it_was_due() -> None:
    """All connections wait behind a stalled server; those that come after must not look fast."""
    gate, waiting = threading.Event(), threading.Semaphore(0)

    def send(call: Call) -> tuple[int, bytes]:
        del call
        waiting.release()
        gate.wait()
        return 200, b""

    def open_when_all_wait() -> None:
        for _ in range(CONNECTIONS):
            waiting.acquire()
        opened.append(time.perf_counter())
        gate.set()

    opened: list[float] = []
    opener = threading.Thread(target=open_when_all_wait)
    opener.start()
    begun = time.perf_counter()
    samples = open_loop(send, calls(2 * CONNECTIONS), per_second=10_000)
    opener.join()
    stalled = opened[0] - begun - 1.0  # less the pause before the first and the time of sending
    assert all(sample.seconds > stalled for sample in samples)


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"{self.path} {self.headers['Authorization']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_client_keeps_its_connection_and_its_headers(url: str) -> None:
    client = Client(url, {"Authorization": "Bearer me"})
    assert [client.send(call) for call in calls(2)] == [
        (200, b"/0 Bearer me"),
        (200, b"/1 Bearer me"),
    ]
    client.close()


def test_no_answer_is_no_exception() -> None:
    client = Client("http://127.0.0.1:1", {})
    assert client.send(calls(1)[0]) == (0, b"")
