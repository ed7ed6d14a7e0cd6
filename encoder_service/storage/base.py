"""What an object store can do, whichever it is, and where our objects lie in it.

Keys that we choose contain the attempt or the hash of their content: a worker that comes back from
the dead writes next to its successor's object, never over it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Protocol

from encoder_service.errors import InvalidKey
from encoder_service.storage.disk import os_errors_translated

CHUNK_BYTES = 2**20
MAX_KEY_BYTES = 1024
STREAM_SUFFIX = ".nrv"
PICTURES = "pictures"


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectInfo:
    """What a store knows about an object."""

    key: str
    size: int  # bytes
    etag: str  # changes whenever the content does; means nothing else
    modified_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One part of a multipart upload; numbers begin at 1 and may have gaps."""

    number: int
    etag: str
    size: int  # bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Unfinished:
    """What was begun and is no object yet: an upload in parts, or a write that was broken off."""

    name: str  # of the key, or what the store calls it
    upload_id: str | None  # of an upload in parts
    size: int  # bytes, as far as the store tells
    begun_at: datetime


class ObjectStore(Protocol):
    """Objects by key. Every method raises a `StorageError`, and no other foreign exception."""

    def prepare(self) -> None:
        """Make the bucket or folder when it is missing; called once, before anything else."""
        ...

    def put(self, key: str, body: IO[bytes], *, if_absent: bool = False) -> None:
        """Store everything that ``body`` holds from its position on: all of it or nothing.

        Raises:
            ObjectExists: ``if_absent``, and there is such an object.
            StorageFull: no space left; the old object, if any, is untouched.
        """
        ...

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """A range of an object, cut off at its end; all of it by default."""
        ...

    def stream(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Like `read`, in chunks; a missing object is reported before the first chunk."""
        ...

    def stat(self, key: str) -> ObjectInfo:
        """What is known about an object.

        Raises:
            ObjectMissing: there is none.
        """
        ...

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """Objects whose key begins with ``prefix`` and comes after ``after``, in order of keys."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; no error when there is none."""
        ...

    def link_to_get(self, key: str, *, seconds: int, filename: str | None = None) -> str:
        """A URL that anybody can read the object from until ``seconds`` have passed."""
        ...

    def link_to_put(self, key: str, *, seconds: int) -> str:
        """A URL that anybody can store the object at until ``seconds`` have passed."""
        ...

    def start_multipart(self, key: str) -> str:
        """Begin an upload in parts; returns its id. Nothing is visible until it is complete."""
        ...

    def link_to_put_part(self, key: str, upload_id: str, number: int, *, seconds: int) -> str:
        """A URL that anybody can store one part at until ``seconds`` have passed."""
        ...

    def put_part(self, key: str, upload_id: str, number: int, body: IO[bytes]) -> Part:
        """Store one part; storing it again replaces it."""
        ...

    def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        """The parts stored so far, by number: what a resumed upload need not send again.

        Raises:
            ObjectMissing: there is no such upload.
        """
        ...

    def complete_multipart(self, key: str, upload_id: str, parts: Sequence[Part]) -> None:
        """Join the parts, in the order of their numbers, into the object."""
        ...

    def abort_multipart(self, key: str, upload_id: str) -> None:
        """Forget an upload and its parts; no error when there is none."""
        ...

    def unfinished(self) -> Iterator[Unfinished]:
        """What takes room and is no object, in no order."""
        ...

    def discard(self, unfinished: Unfinished) -> None:
        """Remove what `unfinished` gave; no error when it is gone, or finished, by now."""
        ...


def upload_key(upload_id: str) -> str:
    """Where an uploaded source lies."""
    return f"uploads/{upload_id}"


def segment_key(encoding_id: str, index: int, attempt: int) -> str:
    """Where one attempt stores the bytes of its segment."""
    return f"encodings/{encoding_id}/segments/{index:05d}-{attempt}"


def stream_key(encoding_id: str, sha256: str) -> str:
    """Where the finished stream lies."""
    return f"encodings/{encoding_id}/{sha256}{STREAM_SUFFIX}"


def picture_key(stream: str, name: str) -> str:
    """Where a picture of a frame of the stream with this key lies, as long as it is kept."""
    folder, file = stream.rsplit("/", 1)
    return f"{folder}/{PICTURES}/{file.removesuffix(STREAM_SUFFIX)}-{name}"


def preview_key(stream: str) -> str:
    """Where the preview of the stream with this key lies."""
    return f"{stream.removesuffix(STREAM_SUFFIX)}.preview.mp4"


def decode_file_key(name: str) -> str:
    """Where a decode file lies; its name contains the hash of its content."""
    return f"decode-files/{name}"


def check_key(key: str) -> None:
    """Refuse keys that no store takes.

    Raises:
        InvalidKey: empty, or longer than 1024 bytes.
    """
    if not 0 < len(key.encode(errors="surrogatepass")) <= MAX_KEY_BYTES:
        raise InvalidKey(f"an object key has 1 to {MAX_KEY_BYTES} bytes; this one does not")


def download(store: ObjectStore, key: str, path: Path) -> None:
    """Copy an object into a file that appears whole or not at all.

    Raises:
        StorageFull: no space left for the file.
    """
    with os_errors_translated(path.name):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "wb") as file:
                for chunk in store.stream(key):
                    file.write(chunk)
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)
