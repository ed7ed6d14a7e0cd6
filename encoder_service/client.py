"""The service as seen from outside, for ``nrv submit``, ``batch``, ``status``, ``fetch``..."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from typing import Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

from encoder_service.errors import InvalidConfiguration, ServiceRefused, ServiceUnreachable

TIMEOUT_SECONDS = 30.0
CHUNK_BYTES = 2**20
PAGE = 200
NOT_NOW = frozenset({429, 502, 503, 504})  # the same request may pass later

Json = dict[str, Any]
OnBytes = Callable[[int], None]


class Client:
    """One service and one API key.

    Every call raises `ServiceRefused` when the service says no, and `ServiceUnreachable` when it
    does not answer.
    """

    def __init__(self, url: str, api_key: str) -> None:
        self._url = url.rstrip("/")
        self._api_key = api_key

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Client:
        """The service that NRV_URL and NRV_API_KEY name.

        Raises:
            InvalidConfiguration: one of them is missing, or the URL is none.
        """
        url, api_key = environ.get("NRV_URL", ""), environ.get("NRV_API_KEY", "")
        if not url.startswith(("http://", "https://")):
            raise InvalidConfiguration("set NRV_URL to the service's http(s) address")
        if not api_key.isascii() or not api_key.isprintable() or not api_key:
            raise InvalidConfiguration("set NRV_API_KEY to a key of the service (nrv_...)")
        return cls(url, api_key)

    def submit(self, source: str, options: Mapping[str, object]) -> Json:
        """Ask for an encoding of ``upload:ID`` or ``s3://bucket/key``."""
        return self._ask("POST", "/v1/encodings", {**options, "source": source})

    def encoding(self, encoding_id: str) -> Json:
        """Status, progress and result."""
        return self._ask("GET", f"/v1/encodings/{quote(encoding_id, safe='')}")

    def encodings(self, **filters: str) -> Iterator[Json]:
        """Encodings, newest first, page by page; ``filters`` are those of ``GET /v1/encodings``."""
        cursor: str | None = ""
        while cursor is not None:
            query = {**filters, "limit": str(PAGE), **({"cursor": cursor} if cursor else {})}
            page = self._ask("GET", f"/v1/encodings?{urlencode(query)}")
            yield from page["items"]
            cursor = page["next_cursor"]

    def retry(self, encoding_id: str) -> Json:
        """Have a failed or cancelled encoding tried again."""
        return self._ask("POST", f"/v1/encodings/{quote(encoding_id, safe='')}/retry", {})

    def submit_batch(self, source: str, options: Mapping[str, object]) -> Json:
        """Ask for encodings of everything below ``s3://bucket/prefix``, or for news of them."""
        return self._ask("POST", "/v1/batches", {**options, "source": source})

    def batch(self, batch_id: str) -> Json:
        """How far a batch is."""
        return self._ask("GET", f"/v1/batches/{quote(batch_id, safe='')}")

    def cancel(self, encoding_id: str) -> Json:
        """Ask for the end of an encoding."""
        return self._ask("DELETE", f"/v1/encodings/{quote(encoding_id, safe='')}")

    def cancel_batch(self, batch_id: str) -> Json:
        """Ask for the end of a batch."""
        return self._ask("DELETE", f"/v1/batches/{quote(batch_id, safe='')}")

    def begin_upload(self, size_bytes: int) -> Json:
        """Announce a source."""
        return self._ask("POST", "/v1/uploads", {"size_bytes": size_bytes})

    def find_upload(self, upload_id: str) -> Json:
        """An upload that was begun before."""
        return self._ask("GET", f"/v1/uploads/{quote(upload_id, safe='')}")

    def send_parts(self, upload: Json, file: BinaryIO, on_bytes: OnBytes) -> str:
        """Send the parts that are missing and join them; returns the source to submit.

        Args:
            upload: from `begin_upload` or `find_upload`.
            file: the source, seekable.
            on_bytes: called with the bytes that the service has.
        """
        while missing := upload["missing_parts"]:
            on_bytes(len(upload["stored_parts"]) * upload["part_bytes"])
            for number, part in enumerate(missing, start=1):
                file.seek((part["number"] - 1) * upload["part_bytes"])
                body = file.read(part["size_bytes"])
                with _opened(Request(part["url"], data=body, method="PUT")):  # noqa: S310
                    on_bytes((len(upload["stored_parts"]) + number) * upload["part_bytes"])
            upload = self.find_upload(upload["id"])
        if not upload["complete"]:
            self._ask("POST", f"/v1/uploads/{upload['id']}/complete", {})
        return str(upload["source"])

    def download(self, encoding_id: str, output: BinaryIO, on_bytes: OnBytes) -> int:
        """Copy the stream of an encoding; returns its bytes."""
        request = self._request("GET", f"/v1/encodings/{quote(encoding_id, safe='')}/stream")
        with _opened(request) as response:
            announced, received = response.headers.get("Content-Length"), 0
            for chunk in _chunks(response):
                output.write(chunk)
                received += len(chunk)
                on_bytes(received)
        if announced is not None and received != int(announced):
            raise ServiceUnreachable(f"the download ended after {received} of {announced} bytes")
        return received

    def _ask(self, method: str, path: str, body: Json | None = None) -> Json:
        request = self._request(method, path)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
            request.add_header("Idempotency-Key", uuid.uuid4().hex)
        with _opened(request) as response:
            try:
                answer: Json = json.load(response)
            except ValueError:
                raise ServiceUnreachable(f"{self._url} does not answer like nrv") from None
        return answer

    def _request(self, method: str, path: str) -> Request:
        request = Request(f"{self._url}{path}", method=method)  # noqa: S310 - http(s), checked
        # Not passed on to the bucket that a download is redirected to.
        request.add_unredirected_header("Authorization", f"Bearer {self._api_key}")
        return request


@contextmanager
def _opened(request: Request) -> Iterator[HTTPResponse]:
    try:
        with urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310 - http(s), checked
            yield response
    except HTTPError as error:
        with error:
            kind = ServiceUnreachable if error.code in NOT_NOW else ServiceRefused
            raise kind(_reason(error)) from None
    except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise ServiceUnreachable(f"{request.host} does not answer: {reason}") from error


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    while chunk := response.read(CHUNK_BYTES):
        yield chunk


def _reason(error: HTTPError) -> str:
    """What the problem document says, if it is one."""
    try:
        problem = json.load(error)
        return f"{problem['detail']} ({problem['code']})"
    except (ValueError, KeyError, TypeError, OSError):
        return f"HTTP status {error.code}"
