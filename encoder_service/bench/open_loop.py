"""Requests at a fixed rate, whatever becomes of them.

Users do not wait for each other. A request that is answered late counts from the moment it was due,
not from the moment that a free connection was found for it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from threading import local
from urllib.parse import urlsplit

CONNECTIONS = 64
START_SECONDS = 0.5  # until the first request is due; connections are made meanwhile


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One request."""

    name: str  # of its kind
    method: str
    path: str
    body: bytes | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What became of a request."""

    name: str
    status: int  # 0: no answer
    seconds: float  # since it was due
    body: bytes


class Client:
    """Connections that stay open, one per thread."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._headers = dict(headers)
        self._local = local()

    def send(self, call: Call) -> tuple[int, bytes]:
        """The status and body of the answer; 0 when there was none."""
        try:
            connection = self._connection()
            connection.request(call.method, call.path, call.body, self._headers)
            with connection.getresponse() as response:
                return response.status, response.read()
        except (OSError, HTTPException):
            self._local.connection = None
            return 0, b""

    def close(self) -> None:
        """Close the connection of this thread."""
        if getattr(self._local, "connection", None) is not None:
            self._local.connection.close()

    def _connection(self) -> HTTPConnection:
        connection: HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = HTTPConnection(self._host, self._port, timeout=30)
            self._local.connection = connection
        return connection


def open_loop(
    send: Callable[[Call], tuple[int, bytes]], calls: Sequence[Call], *, per_second: float
) -> list[Sample]:
    """Send every call when it is due and wait for all answers."""
    begin = time.perf_counter() + START_SECONDS
    turn = itertools.count()

    def work(_: int) -> list[Sample]:
        samples = []
        while (number := next(turn)) < len(calls):
            due = begin + number / per_second
            time.sleep(max(0.0, due - time.perf_counter()))
            status, body = send(calls[number])
            samples.append(
                Sample(
                    name=calls[number].name,
                    status=status,
                    seconds=time.perf_counter() - due,
                    body=body,
                )
            )
        return samples

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return [sample for done in pool.map(work, range(CONNECTIONS)) for sample in done]
