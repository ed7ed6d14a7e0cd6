"""Where the bytes of a stream come from: memory, a file, an HTTP server.

A reader asks for exactly the ranges it needs, so a stream behind HTTP or in an object store is read
without being downloaded.
"""

from __future__ import annotations

import http.client
import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, cast
from urllib.parse import urlsplit

from hypernet.errors import InvalidStream, UnreadableInput

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


class ByteSource(Protocol):
    """Random access to a fixed sequence of bytes; several threads may read at the same time."""

    def size(self) -> int:
        """Total number of bytes."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``.

        Raises:
            InvalidStream: the range reaches past the end.
            UnreadableInput: the source cannot be read at all.
        """
        ...


class BytesSource:
    """A stream held in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def size(self) -> int:
        """Total number of bytes."""
        return len(self._data)

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``; see :class:`ByteSource`."""
        _check_range(offset, length, len(self._data))
        return self._data[offset : offset + length]


class FileSource:
    """A stream in a local file. Reads are positional, so threads may share one source.

    Raises:
        UnreadableInput: the file is missing, is a folder, or may not be read.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        try:
            self._file = self._path.open("rb", buffering=0)
            self._size = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise UnreadableInput(f"cannot read {self._path}: {error.strerror}") from error

    def size(self) -> int:
        """Total number of bytes when the file was opened."""
        return self._size

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``; see :class:`ByteSource`."""
        _check_range(offset, length, self._size)
        parts: list[bytes] = []
        while length > 0:
            try:
                part = os.pread(self._file.fileno(), length, offset)
            except OSError as error:
                raise UnreadableInput(f"cannot read {self._path}: {error.strerror}") from error
            if not part:
                raise InvalidStream(f"{self._path} became shorter while it was read")
            parts.append(part)
            offset, length = offset + len(part), length - len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Release the file; the source cannot be used afterwards."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class HttpSource:
    """A stream behind HTTP or HTTPS, read with Range requests.

    Redirects are followed to other http(s) addresses only. Works with presigned object-store links.

    Args:
        url: ``http://`` or ``https://`` address.
        headers: sent with every request, for instance ``Authorization``.
        timeout_seconds: for connecting and for each read from the socket.

    Raises:
        UnreadableInput: from any method, when the server cannot be reached, refuses, or ignores
            Range.
    """

    def __init__(
        self, url: str, *, headers: dict[str, str] | None = None, timeout_seconds: float = 30.0
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UnreadableInput(f"not an http(s) address: {url}")
        # Without the query: presigned addresses carry their credentials there.
        self._label = f"{parts.scheme}://{parts.hostname}{parts.path}"
        self._url = url
        self._headers = dict(headers or {})
        self._timeout_seconds = timeout_seconds
        self._size: int | None = None
        self._opener = _http_opener()

    def size(self) -> int:
        """Total number of bytes, asked once with a one-byte request."""
        if self._size is None:
            self._request(0, 1)
        return cast("int", self._size)

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``; see :class:`ByteSource`."""
        _check_range(offset, length, self.size())
        return self._request(offset, length) if length else b""

    def _request(self, offset: int, length: int) -> bytes:
        last = offset + length - 1
        request = urllib.request.Request(  # noqa: S310 - the scheme is checked in __init__
            self._url, headers={**self._headers, "Range": f"bytes={offset}-{last}"}
        )
        try:
            with self._opener.open(request, timeout=self._timeout_seconds) as response:
                self._check_response(response, offset, last)
                data = cast("bytes", response.read(length + 1))
        except urllib.error.HTTPError as error:
            error.close()
            raise UnreadableInput(f"{self._label}: the server answered {error.code}") from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise UnreadableInput(f"{self._label}: cannot be read: {reason}") from error
        if len(data) != length:
            raise InvalidStream(f"{self._label}: {len(data)} bytes came for a range of {length}")
        return data

    def _check_response(self, response: http.client.HTTPResponse, first: int, last: int) -> None:
        if response.status != http.client.PARTIAL_CONTENT:
            raise UnreadableInput(
                f"{self._label}: the server ignores Range requests (status {response.status}); "
                "download the file and open it locally"
            )
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None:
            raise UnreadableInput(f"{self._label}: the answer has no valid Content-Range")
        if (int(match[1]), int(match[2])) != (first, last):
            raise InvalidStream(f"{self._label}: the server sent another range than asked for")
        size = int(match[3])
        if self._size not in {None, size}:
            raise InvalidStream(f"{self._label} changed its size while it was read")
        self._size = size


class CountingSource:
    """Passes reads on to another source and records them.

    Attributes:
        reads: every (offset, length) asked for, in order.
    """

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self.reads: list[tuple[int, int]] = []

    @property
    def bytes_read(self) -> int:
        """Sum of the lengths of all reads."""
        return sum(length for _, length in self.reads)

    def size(self) -> int:
        """Total number of bytes of the wrapped source."""
        return self._source.size()

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``; see :class:`ByteSource`."""
        self.reads.append((offset, length))
        return self._source.read(offset, length)


def _check_range(offset: int, length: int, size: int) -> None:
    if offset < 0 or length < 0 or offset + length > size:
        raise InvalidStream(
            f"truncated stream: bytes {offset}..{offset + length} asked for, {size} present"
        )


def _http_opener() -> urllib.request.OpenerDirector:
    # The default opener would also follow redirects to ftp.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener
