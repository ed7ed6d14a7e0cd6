"""Sending callbacks to a real server on the loopback, which a setting allows."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from sqlalchemy import select

from encoder_service.callbacks import Target, Targets, callback_secret
from encoder_service.database import Database
from encoder_service.jobs import commands
from encoder_service.jobs.callbacks import CallbackRepository
from encoder_service.jobs.states import CallbackStatus
from encoder_service.settings import CallbackSettings
from encoder_service.tables import callbacks
from tests.factories import Service
from workers.callbacks import Deliverer, post

LOOPBACK = CallbackSettings(
    allowed_networks=("127.0.0.0/8",), timeout_seconds=5, retry_seconds=0, max_retry_seconds=0
)
SECRET = "link secret"  # noqa: S105 - of these tests


class Receiver(HTTPServer):
    """Keeps what it is told; answers with the statuses it was given, then with 204."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/told?by=nrv"
        self.statuses: list[int] = []
        self.told: list[tuple[str, dict[str, str], bytes]] = []


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.told.append((self.path, dict(self.headers), body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.send_header("Location", self.server.url)
        self.end_headers()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def deliver(service: Service, settings: CallbackSettings = LOOPBACK) -> int:
    """Send what is due once; returns how many were tried."""
    repository = CallbackRepository(service.jobs.database, settings)
    deliverer = Deliverer(repository, Targets(settings), SECRET, clock=lambda: 1_700_000_000.5)
    with ThreadPoolExecutor(4) as pool:
        return deliverer.deliver_due(pool)


def rows(database: Database) -> list[Any]:
    with database.reading() as connection:
        return list(connection.execute(select(callbacks).order_by(callbacks.c.id)))


def test_success_is_told_once_and_signed(service: Service, receiver: Receiver) -> None:
    encoding = service.finish(service.submit(8, 8, callback_url=receiver.url, labels=("demo",)))
    assert [deliver(service), deliver(service)] == [1, 0]
    ((path, headers, body),) = receiver.told
    news = json.loads(body)
    assert path == "/told?by=nrv"
    assert (news["type"], news["encoding"]["id"]) == ("encoding.succeeded", encoding.id)
    assert news["encoding"]["result"]["frames"] == 16
    assert news["encoding"]["labels"] == ["demo"]
    assert headers["Nrv-Callback-Id"] == news["id"]
    secret = callback_secret(SECRET, service.jobs.owner_id)
    signed = hmac.new(secret.encode(), b"1700000000." + body, hashlib.sha256).hexdigest()
    assert headers["Nrv-Signature"] == f"t=1700000000,v1={signed}"
    (row,) = rows(service.jobs.database)
    assert (row.status, row.attempts, row.last_error) == (CallbackStatus.DELIVERED, 1, None)


def test_failure_cancellation_and_the_end_after_a_retry_are_told(
    service: Service, receiver: Receiver
) -> None:
    encoding_id = service.jobs.submit(source="upload:none", callback_url=receiver.url).id
    service.finish(encoding_id)
    commands.retry(service.jobs.database, service.jobs.queue, service.jobs.owner_id, encoding_id)
    commands.cancel(service.jobs.database, service.jobs.owner_id, encoding_id)
    while deliver(service):
        pass
    news = [json.loads(body) for *_, body in receiver.told]
    assert sorted(each["type"] for each in news) == ["encoding.cancelled", "encoding.failed"]
    assert len({each["id"] for each in news}) == 2


def test_nobody_is_told_who_did_not_ask(service: Service) -> None:
    service.finish(service.submit(8))
    assert rows(service.jobs.database) == []


@pytest.mark.parametrize("status", [301, 307, 400, 404, 500, 503])
def test_whatever_is_not_2xx_is_tried_again_with_the_same_id(
    service: Service, receiver: Receiver, status: int
) -> None:
    receiver.statuses = [status, status]
    service.finish(service.submit(8, callback_url=receiver.url))
    assert [deliver(service) for _ in range(4)] == [1, 1, 1, 0]
    assert len({headers["Nrv-Callback-Id"] for _, headers, _ in receiver.told}) == 1
    assert [path for path, *_ in receiver.told] == ["/told?by=nrv"] * 3
    (row,) = rows(service.jobs.database)
    assert (row.status, row.attempts) == (CallbackStatus.DELIVERED, 3)


def test_pauses_grow_and_end(service: Service, receiver: Receiver) -> None:
    receiver.statuses = [500] * 9
    service.finish(service.submit(8, callback_url=receiver.url))
    assert deliver(service, replace(LOOPBACK, retry_seconds=600, max_retry_seconds=600)) == 1
    assert deliver(service) == 0  # not due
    (row,) = rows(service.jobs.database)
    assert (row.status, row.last_error) == (
        CallbackStatus.PENDING,
        "HTTPException: the receiver answered with HTTP status 500",
    )


def test_the_owner_sees_how_far_it_is(service: Service, receiver: Receiver) -> None:
    def seen(encoding_id: str) -> list[tuple[str, int, str | None, bool, bool]]:
        return [
            (
                each.status,
                each.attempts,
                each.last_error,
                each.next_attempt_at is not None,
                each.ended_at is not None,
            )
            for each in service.queries.deliveries(service.jobs.owner_id, encoding_id)
        ]

    encoding_id = service.submit(8, callback_url=receiver.url)
    assert seen(encoding_id) == []
    service.finish(encoding_id)
    assert seen(encoding_id) == [("pending", 0, None, True, False)]
    receiver.statuses = [500]
    deliver(service)
    why = "HTTPException: the receiver answered with HTTP status 500"
    assert seen(encoding_id) == [("pending", 1, why, True, False)]
    deliver(service)
    assert seen(encoding_id) == [("delivered", 2, None, False, True)]


def test_a_receiver_that_never_answers_is_given_up(service: Service, receiver: Receiver) -> None:
    receiver.statuses = [500] * 9
    service.finish(service.submit(8, callback_url=receiver.url))
    impatient = replace(LOOPBACK, max_attempts=3)
    assert [deliver(service, impatient) for _ in range(4)] == [1, 1, 1, 0]
    (row,) = rows(service.jobs.database)
    assert (row.status, row.attempts) == (CallbackStatus.GAVE_UP, 3)
    assert "500" in row.last_error


def test_a_sender_that_dies_leaves_the_callback_to_the_next(
    service: Service, receiver: Receiver
) -> None:
    service.finish(service.submit(8, callback_url=receiver.url))
    hasty = CallbackRepository(service.jobs.database, replace(LOOPBACK, hold_seconds=-1))
    (claimed,) = hasty.claim(9)  # and is never heard of again
    assert deliver(service) == 1
    hasty.failed(claimed, "came back from the dead")
    (row,) = rows(service.jobs.database)
    assert (row.status, row.attempts) == (CallbackStatus.DELIVERED, 2)


def test_a_held_callback_is_not_sent_by_a_second_sender(service: Service) -> None:
    service.finish(service.submit(8, callback_url="http://127.0.0.1:1/"))
    repository = CallbackRepository(service.jobs.database, LOOPBACK)
    assert [len(repository.claim(9)), len(repository.claim(9))] == [1, 0]


def test_forbidden_targets_are_not_connected_to(service: Service, receiver: Receiver) -> None:
    service.finish(service.submit(8, callback_url=receiver.url))
    assert deliver(service, replace(LOOPBACK, allowed_networks=(), retry_seconds=600)) == 1
    assert receiver.told == []
    (row,) = rows(service.jobs.database)
    assert "not a public address" in row.last_error


def test_one_bad_receiver_does_not_keep_the_others_waiting(
    service: Service, receiver: Receiver
) -> None:
    for url in ("http://127.0.0.1:1/", receiver.url, "http://no-such-host.invalid/"):
        service.finish(service.submit(8, callback_url=url))
    assert deliver(service, replace(LOOPBACK, retry_seconds=600, max_retry_seconds=600)) == 3
    assert len(receiver.told) == 1


def test_a_database_that_is_away_is_asked_again_later() -> None:
    from encoder_service.settings import DatabaseSettings

    nowhere = Database(DatabaseSettings(url="postgresql+psycopg://x@/x?host=/nowhere"))
    deliverer = Deliverer(CallbackRepository(nowhere, LOOPBACK), Targets(LOOPBACK), SECRET)
    with ThreadPoolExecutor(1) as pool:
        assert deliverer.deliver_due(pool) == 0


def test_sending_goes_on_until_it_is_stopped(service: Service, receiver: Receiver) -> None:
    stop = threading.Event()

    class Stopping(CallbackRepository):
        def delivered(self, callback: Any) -> None:
            super().delivered(callback)
            stop.set()

    service.finish(service.submit(8, callback_url=receiver.url))
    repository = Stopping(service.jobs.database, replace(LOOPBACK, poll_seconds=0))
    Deliverer(repository, Targets(LOOPBACK), SECRET).deliver_until(stop)
    assert len(receiver.told) == 1


# The connection


@contextmanager
def trickling(text: bytes) -> Iterator[int]:
    """A server that says ``text`` byte by byte for as long as anybody listens; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def trickle() -> None:
            connection, _ = server.accept()
            pause = threading.Event()
            with connection:
                try:
                    for number in range(100_000):
                        connection.sendall(text[number % len(text) : number % len(text) + 1])
                        pause.wait(0.01)
                except OSError:
                    return

        thread = threading.Thread(target=trickle)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def target(port: int, *addresses: str, secure: bool = False) -> Target:
    return Target(
        secure=secure,
        host="example.com",
        port=port,
        path="/",
        addresses=addresses or ("127.0.0.1",),
    )


@pytest.mark.parametrize("text", [b"HTTP/1.1 200 OK\r\nX: ", b"SSH-2.0-", b"\x16\x03\x03"])
@pytest.mark.parametrize("secure", [False, True])
def test_a_receiver_that_trickles_is_cut_off(text: bytes, secure: bool) -> None:
    with trickling(text) as port, pytest.raises((OSError, HTTPException)):
        post(target(port, secure=secure), b"{}", {}, seconds=0.3)


def test_the_address_that_was_checked_is_connected_to(receiver: Receiver) -> None:
    checked = target(receiver.server_port, "127.0.0.2", "127.0.0.1")  # nobody listens at the first
    assert post(checked, b"{}", {"A": "b"}, seconds=5) == 204
    ((_, headers, body),) = receiver.told
    assert (headers["Host"], headers["A"], body) == (
        f"example.com:{receiver.server_port}",
        "b",
        b"{}",
    )


def test_tls_without_a_valid_certificate_is_refused(receiver: Receiver) -> None:
    with pytest.raises(OSError, match=r"(?i)ssl|closed|reset"):
        post(target(receiver.server_port, secure=True), b"{}", {}, seconds=5)
    assert receiver.told == []
