"""HTTP as a stranger speaks it: no client library of the service, no credentials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.error import HTTPError
from urllib.request import Request, urlopen


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(
    method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    assert url.startswith("http://127.0.0.1:")
    request = Request(url, data=body, method=method, headers=dict(headers or {}))  # noqa: S310
    try:
        response = urlopen(request, timeout=10)  # noqa: S310
    except HTTPError as error:
        response = error
    with response:
        return Answer(status=response.status, headers=response.headers, body=response.read())
