"""A folder as an object store: for one machine, and for tests.

An object is a file whose path is its key. It is written under another name, synced, and renamed, so
readers see the old object or the new one, never half of one. Names that begin with a dot are ours.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from encoder_service.errors import (
    InvalidKey,
    ObjectExists,
    ObjectMissing,
)
from encoder_service.storage.base import CHUNK_BYTES, ObjectInfo, Part, Unfinished, check_key
from encoder_service.storage.disk import os_errors_translated
from encoder_service.storage.links import LinkSigner

INCOMING = ".incoming"


class LocalObjectStore:
    """Objects in a folder, which is created when missing."""

    def __init__(self, root: Path, links: LinkSigner) -> None:
        self.root = root.absolute()
        self._links = links
        self.prepare()

    def prepare(self) -> None:
        """See `ObjectStore.prepare`."""
        with os_errors_translated(str(self.root)):
            (self.root / INCOMING).mkdir(parents=True, exist_ok=True)

    def put(self, key: str, body: IO[bytes], *, if_absent: bool = False) -> None:
        """See `ObjectStore.put`."""
        path = self._path(key)
        with self._incoming(key) as temporary:
            _write(temporary, body)
            _publish(temporary, path, key, if_absent=if_absent)

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """See `ObjectStore.read`."""
        return b"".join(self.stream(key, offset=offset, length=length))

    def stream(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See `ObjectStore.stream`."""
        path = self._path(key)
        with os_errors_translated(key):
            file = path.open("rb")
            file.seek(offset)
        return _chunks(file, key, length)

    def stat(self, key: str) -> ObjectInfo:
        """See `ObjectStore.stat`."""
        path = self._path(key)
        if not path.is_file():
            raise ObjectMissing(f"there is no object {key!r}")
        return _info(path, key)

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """See `ObjectStore.list`."""
        for key in _keys(self.root, "", prefix, after):
            path = self.root / key
            if path.is_file():  # it may have been deleted since
                yield _info(path, key)

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        path = self._path(key)
        with os_errors_translated(key):
            if path.is_file():
                path.unlink(missing_ok=True)

    def link_to_get(self, key: str, *, seconds: int, filename: str | None = None) -> str:
        """See `ObjectStore.link_to_get`."""
        self._path(key)
        name = {} if filename is None else {"filename": filename}
        return self._links.link("GET", key, seconds=seconds, **name)

    def link_to_put(self, key: str, *, seconds: int) -> str:
        """See `ObjectStore.link_to_put`."""
        self._path(key)
        return self._links.link("PUT", key, seconds=seconds)

    def check_link(self, method: str, key: str, query: Mapping[str, str]) -> None:
        """Accept a link that this store made; see `LinkSigner.check`."""
        self._links.check(method, key, query)

    def start_multipart(self, key: str) -> str:
        """See `ObjectStore.start_multipart`."""
        self._path(key)
        upload_id = secrets.token_hex(16)
        with os_errors_translated(key):
            folder = self.root / INCOMING / upload_id
            folder.mkdir()
            (folder / "key").write_text(key)
        return upload_id

    def link_to_put_part(self, key: str, upload_id: str, number: int, *, seconds: int) -> str:
        """See `ObjectStore.link_to_put_part`."""
        self._upload(key, upload_id)
        return self._links.link("PUT", key, seconds=seconds, upload=upload_id, part=str(number))

    def put_part(self, key: str, upload_id: str, number: int, body: IO[bytes]) -> Part:
        """See `ObjectStore.put_part`."""
        path = self._upload(key, upload_id) / f"{number:05d}"
        with self._incoming(key) as temporary:
            _write(temporary, body)
            with os_errors_translated(key):
                temporary.replace(path)
        return _part(path)

    def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        """See `ObjectStore.list_parts`."""
        folder = self._upload(key, upload_id)
        return [_part(path) for path in sorted(folder.glob("[0-9]" * 5))]

    def complete_multipart(self, key: str, upload_id: str, parts: Sequence[Part]) -> None:
        """See `ObjectStore.complete_multipart`."""
        folder = self._upload(key, upload_id)
        if [*parts] != [part for part in self.list_parts(key, upload_id) if part in parts]:
            raise ObjectMissing(f"upload {upload_id}: a part is missing or was replaced since")
        with self._incoming(key) as temporary:
            for part in parts:
                with os_errors_translated(key), (folder / f"{part.number:05d}").open("rb") as body:
                    _write(temporary, body)
            _publish(temporary, self._path(key), key, if_absent=False)
        shutil.rmtree(folder, ignore_errors=True)

    def abort_multipart(self, key: str, upload_id: str) -> None:
        """See `ObjectStore.abort_multipart`."""
        try:
            folder = self._upload(key, upload_id)
        except ObjectMissing:
            return
        shutil.rmtree(folder, ignore_errors=True)

    def unfinished(self) -> Iterator[Unfinished]:
        """See `ObjectStore.unfinished`."""
        for path in sorted((self.root / INCOMING).iterdir()):
            with suppress(FileNotFoundError):  # finished just now
                yield _unfinished(path)

    def discard(self, unfinished: Unfinished) -> None:
        """See `ObjectStore.discard`."""
        if unfinished.upload_id is not None:
            shutil.rmtree(self.root / INCOMING / unfinished.upload_id, ignore_errors=True)
        else:
            with os_errors_translated(unfinished.name):
                (self.root / unfinished.name).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        check_key(key)
        names = key.split("/")
        if not key.isprintable() or any(not name or name.startswith(".") for name in names):
            raise InvalidKey(
                f"{key!r}: no part of a key may be empty, begin with a dot, or hide characters"
            )
        path = self.root.joinpath(*names)
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise InvalidKey(f"{key!r} leads out of the store through a symbolic link")
        return path

    def _upload(self, key: str, upload_id: str) -> Path:
        self._path(key)
        folder = self.root / INCOMING / upload_id
        if not upload_id.isalnum() or not (folder / "key").is_file():
            raise ObjectMissing(f"there is no upload {upload_id!r}")
        if (folder / "key").read_text() != key:
            raise ObjectMissing(f"there is no upload {upload_id!r} of {key!r}")
        return folder

    @contextmanager
    def _incoming(self, key: str) -> Iterator[Path]:
        """A file beside the objects that is gone at the end, unless it was renamed."""
        path = self.root / INCOMING / secrets.token_hex(16)
        with os_errors_translated(key):
            path.touch()
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)


def _write(path: Path, body: IO[bytes]) -> None:
    """Append everything that ``body`` holds and make it durable."""
    with os_errors_translated(path.name), path.open("ab") as file:
        while chunk := body.read(CHUNK_BYTES):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _publish(temporary: Path, path: Path, key: str, *, if_absent: bool) -> None:
    with os_errors_translated(key):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if if_absent:
                os.link(temporary, path)  # unlike a rename, it refuses to replace
            else:
                temporary.replace(path)
        except FileExistsError:
            if path.is_file():
                raise ObjectExists(f"there is an object {key!r} already") from None
            raise InvalidKey(f"{key!r}: a part of it is an object") from None
        except (IsADirectoryError, NotADirectoryError):
            raise InvalidKey(f"{key!r}: it, or a part of it, is taken by other objects") from None


def _chunks(file: IO[bytes], key: str, length: int | None) -> Iterator[bytes]:
    with file, os_errors_translated(key):
        while length is None or length > 0:
            chunk = file.read(CHUNK_BYTES if length is None else min(CHUNK_BYTES, length))
            if not chunk:
                return
            length = None if length is None else length - len(chunk)
            yield chunk


def _keys(folder: Path, base: str, prefix: str, after: str) -> Iterator[str]:
    """Keys below ``folder`` in their order, without entering folders that cannot match."""
    with os_errors_translated(base):
        names = [
            f"{base}{entry.name}/" if entry.is_dir() else f"{base}{entry.name}"
            for entry in os.scandir(folder)
            if not entry.name.startswith(".")
        ]
    for name in sorted(names):
        if not name.endswith("/"):
            if name.startswith(prefix) and name > after:
                yield name
        elif name.startswith(prefix[: len(name)]) and name >= after[: len(name)]:
            yield from _keys(folder / name[len(base) : -1], name, prefix, after)


def _info(path: Path, key: str) -> ObjectInfo:
    with os_errors_translated(key):
        status = path.stat()
    return ObjectInfo(
        key=key,
        size=status.st_size,
        etag=f"{status.st_mtime_ns:x}-{status.st_ino:x}-{status.st_size:x}",
        modified_at=datetime.fromtimestamp(status.st_mtime, UTC),
    )


def _unfinished(path: Path) -> Unfinished:
    if path.is_file():
        return _begun(f"{INCOMING}/{path.name}", None, [path.stat()])
    key = (path / "key").read_text()
    return _begun(key, path.name, [each.stat() for each in path.iterdir()])


def _begun(name: str, upload_id: str | None, files: list[os.stat_result]) -> Unfinished:
    return Unfinished(
        name=name,
        upload_id=upload_id,
        size=sum(each.st_size for each in files),
        begun_at=datetime.fromtimestamp(max(each.st_mtime for each in files), UTC),
    )


def _part(path: Path) -> Part:
    info = _info(path, path.name)
    return Part(number=int(path.name), etag=info.etag, size=info.size)
