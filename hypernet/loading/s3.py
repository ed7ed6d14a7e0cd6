"""Ranges of objects in S3 and whatever speaks like it; the codec's only module that knows boto3.

Credentials, region and endpoint come from where boto3 looks for them: the variables ``AWS_*``
(``AWS_ENDPOINT_URL_S3`` for servers other than Amazon's), ``~/.aws``, or the machine's role.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from hypernet.errors import InvalidSettings, InvalidStream, UnreadableInput
from hypernet.loading.catalogue import StreamPlace, split_address
from hypernet.loading.range_cache import RangeCache

try:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
    from urllib3.exceptions import HTTPError
except ImportError as error:
    raise InvalidSettings(
        "reading s3:// needs an extra that is not installed: pip install 'nrv[s3]'"
    ) from error

ATTEMPTS = 5
PAGE_OBJECTS = 1000
FIRST_WAIT_SECONDS = 0.25  # doubled after every failure
HEAD_BYTES: Final = 8192
"""Read at once when a stream is opened: nearly always all that stands before the segments."""
_SERVER_ERROR = 500
_WORTH_RETRYING = frozenset({408, 429})

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedObject:
    """An object as a listing shows it."""

    key: str
    num_bytes: int
    version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchedRange:
    """Bytes of an object, its whole size, and which version they are of."""

    data: bytes
    num_bytes: int
    version: str


class S3Client:
    """Reads ranges and lists objects; what fails for a while is tried again.

    Args:
        attempts: how often a request is made before it fails.
        first_wait_seconds: between the first two of them.
        page_objects: asked for at a time when listing.
    """

    def __init__(
        self,
        *,
        attempts: int = ATTEMPTS,
        first_wait_seconds: float = FIRST_WAIT_SECONDS,
        page_objects: int = PAGE_OBJECTS,
    ) -> None:
        self._attempts, self._first_wait_seconds = attempts, first_wait_seconds
        self._page_objects = page_objects
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        # A session of its own: the default one never looks for credentials again.
        self._client = boto3.Session().client(
            "s3",
            region_name=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path" if endpoint else "auto"},
                retries={"total_max_attempts": 1},  # counted here, bodies included
                max_pool_connections=32,
                connect_timeout=5,
                read_timeout=30,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def objects(self, bucket: str, prefix: str) -> Iterator[ListedObject]:
        """Every object whose key begins with the prefix, sorted.

        Raises:
            UnreadableInput: the bucket cannot be listed.
        """
        where, token = f"s3://{bucket}/{prefix}", dict[str, str]()
        wanted = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": self._page_objects}
        while True:
            ask = functools.partial(self._client.list_objects_v2, **wanted, **token)
            page = self._persist(where, ask)
            for each in page.get("Contents", ()):
                yield ListedObject(
                    key=each["Key"], num_bytes=each["Size"], version=each["ETag"].strip('"')
                )
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def fetch(self, bucket: str, key: str, offset: int, length: int) -> FetchedRange:
        """Bytes from ``offset``, ``length`` of them or as many as there are.

        Raises:
            UnreadableInput: every attempt failed, or the object is missing or refused; the message
                names it.
        """
        where = f"s3://{bucket}/{key}"
        byte_range = f"bytes={offset}-{offset + length - 1}"

        def ask() -> FetchedRange:
            answer = self._client.get_object(Bucket=bucket, Key=key, Range=byte_range)
            with answer["Body"] as body:
                data: bytes = body.read()
            size = int(answer["ContentRange"].rpartition("/")[2])
            if len(data) != min(length, size - offset):
                raise HTTPError(f"{len(data)} bytes came for {byte_range}")
            return FetchedRange(data=data, num_bytes=size, version=answer["ETag"].strip('"'))

        return self._persist(where, ask)

    def _persist(self, where: str, ask: Callable[[], Answer]) -> Answer:
        wait_seconds, pause = self._first_wait_seconds, threading.Event()
        for attempt in range(1, self._attempts + 1):
            try:
                return ask()
            except NoCredentialsError as error:
                raise UnreadableInput(
                    f"{where}: no S3 credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                ) from error
            except (BotoCoreError, ClientError, HTTPError) as error:
                if attempt == self._attempts or not _may_pass(error):
                    raise UnreadableInput(
                        f"{where} cannot be read after {attempt} attempts: {error}"
                    ) from error
            pause.wait(wait_seconds)
            wait_seconds *= 2
        raise AssertionError("the last attempt returns or raises")


@functools.cache
def _client_of(_process: int) -> S3Client:
    return S3Client()


def client() -> S3Client:
    """The client of this process: connections do not survive a fork."""
    return _client_of(os.getpid())


class S3Source:
    """A stream in a bucket, as ``hypernet.bitstream.sources.ByteSource``.

    Args:
        place: of the stream; size and version are asked for if it does not name them.
        cache: keeps ranges on a local disk.
        connection: who asks; this process's client by default.
    """

    def __init__(
        self,
        place: StreamPlace,
        cache: RangeCache | None = None,
        connection: S3Client | None = None,
    ) -> None:
        self._name = place.name
        self._bucket, self._key = split_address(place.name)
        self._size, self._version = place.num_bytes, place.version
        self._cache = cache
        self._connection = connection or client()
        self._head: bytes | None = None

    def size(self) -> int:
        """Total number of bytes."""
        if self._size is None:
            self._read_head()
        assert self._size is not None  # noqa: S101 -- the head brought it
        return self._size

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``; see ``ByteSource``."""
        if offset + length > self.size():
            raise InvalidStream(
                f"{self._name} is truncated: it ends at byte {self.size()}, not {offset + length}"
            )
        if offset + length <= HEAD_BYTES:
            return self._read_head()[offset : offset + length]
        return self._range(offset, length)

    def _read_head(self) -> bytes:
        if self._head is None:
            length = HEAD_BYTES if self._size is None else min(HEAD_BYTES, self._size)
            self._head = self._range(0, length) if length else b""
        return self._head

    def _range(self, offset: int, length: int) -> bytes:
        key = f"{self._name} {self._version} {offset} {length}"
        # Without a version nobody knows whether what was kept is still true.
        known = self._cache if self._version is not None else None
        if known is not None and (kept := known.get(key)) is not None:
            return kept
        fetched = self._connection.fetch(self._bucket, self._key, offset, length)
        if self._version not in {None, fetched.version}:
            raise InvalidStream(f"{self._name} was replaced while it was read; list it again")
        self._size, self._version = fetched.num_bytes, fetched.version
        if known is not None:
            known.put(key, fetched.data)
        return fetched.data


def _may_pass(error: Exception) -> bool:
    """Whether the same request may succeed a little later."""
    if not isinstance(error, ClientError):
        return True
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return status >= _SERVER_ERROR or status in _WORTH_RETRYING
