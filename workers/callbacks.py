"""Sends callbacks: to an address that was checked, signed, without following redirections."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection

from encoder_service.callbacks import (
    ID_HEADER,
    SIGNATURE_HEADER,
    Target,
    Targets,
    callback_secret,
    signature,
)
from encoder_service.errors import ServiceError
from encoder_service.jobs.callbacks import CallbackRepository
from encoder_service.jobs.records import Callback
from encoder_service.telemetry import bind

log = logging.getLogger(__name__)

AT_ONCE = 8
USER_AGENT = "nrv-callbacks/1"


class Deliverer:
    """Sends what is due.

    Args:
        callbacks: where they are stored.
        targets: decides whom they may reach.
        link_secret: what their signatures are derived from.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        callbacks: CallbackRepository,
        targets: Targets,
        link_secret: str,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._callbacks = callbacks
        self._targets = targets
        self._link_secret = link_secret
        self._clock = clock

    def deliver_until(self, stop: threading.Event) -> None:
        """Send again and again until ``stop`` is set."""
        pause = self._callbacks.settings.poll_seconds
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="callback") as pool:
            while not stop.is_set():
                if not self.deliver_due(pool):
                    stop.wait(pause)

    def deliver_due(self, pool: ThreadPoolExecutor) -> int:
        """Send some of what is due, at the same time; returns how many were tried."""
        try:
            claimed = self._callbacks.claim(AT_ONCE)
            for _ in pool.map(self._deliver, claimed):
                pass
        except ServiceError as error:
            log.warning("callbacks wait: %s", error)  # they are sent again when they are due again
            return 0
        return len(claimed)

    def _deliver(self, callback: Callback) -> None:
        with bind(callback_id=callback.id, encoding_id=callback.encoding_id):
            try:
                self._send(callback)
            except Exception as error:  # one receiver must not stop the others
                reason = f"{type(error).__name__}: {error}"
                log.warning("callback not delivered: %s", reason)
                self._callbacks.failed(callback, reason)
            else:
                log.info("callback delivered")
                self._callbacks.delivered(callback)

    def _send(self, callback: Callback) -> None:
        body = json.dumps(callback.payload, sort_keys=True).encode()
        secret = callback_secret(self._link_secret, callback.owner_id)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
            ID_HEADER: callback.id,
            SIGNATURE_HEADER: signature(secret, int(self._clock()), body),
        }
        target = self._targets.find(callback.url)
        status = post(target, body, headers, seconds=self._callbacks.settings.timeout_seconds)
        if not 200 <= status < 300:
            raise HTTPException(f"the receiver answered with HTTP status {status}")


def post(target: Target, body: bytes, headers: dict[str, str], *, seconds: float) -> int:
    """Send one request; returns the status of the answer, whose body nobody reads.

    Args:
        target: with the address to connect to; its name is not resolved again.
        body: what to send.
        headers: besides Host and Content-Length.
        seconds: for everything together, however slowly the receiver speaks.

    Raises:
        OSError: it cannot be reached, is too slow, or its certificate is wrong.
        HTTPException: it does not speak HTTP.
    """
    with _socket(target, seconds) as plain, _time_limit(plain, seconds):
        connection = _connection(target, plain)
        try:
            connection.request("POST", target.path, body=body, headers=headers)
            return connection.getresponse().status
        finally:
            connection.close()


def _socket(target: Target, seconds: float) -> socket.socket:
    for address in target.addresses[:-1]:
        with suppress(OSError):
            return socket.create_connection((address, target.port), timeout=seconds)
    return socket.create_connection((target.addresses[-1], target.port), timeout=seconds)


def _connection(target: Target, plain: socket.socket) -> HTTPConnection:
    """Speaks to the name through a socket that is connected to a checked address of it."""
    if target.secure:
        context = ssl.create_default_context()
        secure = HTTPSConnection(target.host, target.port, context=context)
        secure.sock = context.wrap_socket(plain, server_hostname=target.host)
        return secure
    connection = HTTPConnection(target.host, target.port)
    connection.sock = plain
    return connection


@contextmanager
def _time_limit(plain: socket.socket, seconds: float) -> Iterator[None]:
    """Cuts the connection: a socket's own timeout begins anew with every byte.

    Raises:
        TimeoutError: it was cut.
    """
    is_cut = threading.Event()
    lifeline = plain.dup()  # outlives whatever TLS makes of the socket

    def cut() -> None:
        is_cut.set()
        with suppress(OSError):
            lifeline.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, HTTPException) as error:
        if is_cut.is_set():
            raise TimeoutError(f"no whole answer within {seconds:g} s") from error
        raise
    finally:
        timer.cancel()
        timer.join()
        lifeline.close()
    if is_cut.is_set():
        raise TimeoutError(f"no whole answer within {seconds:g} s")
