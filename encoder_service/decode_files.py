"""Decode files in the object store: what streams need besides themselves, for any machine.

A decode file is named by the hash of its bytes (``<16 digits>.decode.safetensors``), so publishing
is harmless to repeat, what is fetched is checked, and nothing published is ever replaced.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from encoder_service.errors import InvalidRequest, ObjectExists, StorageError
from encoder_service.storage.base import ObjectStore, decode_file_key
from encoder_service.storage.disk import os_errors_translated

SUFFIX = ".decode.safetensors"
HASH_DIGITS = 16


class DamagedDecodeFile(StorageError):
    """The bytes are not those that the name promises."""

    code = "storage.damaged"


def shipped() -> Iterator[Traversable]:
    """The decode files of this version of the codec."""
    folder = files("hypernet") / "models"
    yield from (entry for entry in folder.iterdir() if entry.name.endswith(SUFFIX))


def publish(store: ObjectStore, found: Iterator[Traversable]) -> list[str]:
    """Put decode files where every worker and client can fetch them.

    Returns:
        The names of those that were not there before.
    """
    published = []
    for entry in found:
        data = entry.read_bytes()
        _check(entry.name, data)
        with suppress(ObjectExists):
            store.put(decode_file_key(entry.name), io.BytesIO(data), if_absent=True)
            published.append(entry.name)
    return published


def fetch(store: ObjectStore, digest: str, folder: Path) -> Path:
    """The decode file with this hash as a file in ``folder``, fetched when it is not there yet.

    Args:
        store: where it was published.
        digest: SHA-256 in hexadecimal, or its first 16 digits.
        folder: of decode files; created when missing.

    Raises:
        InvalidRequest: ``digest`` is no such hash.
        ObjectMissing: it was never published here.
        DamagedDecodeFile: the store gave other bytes than were published.
    """
    name = name_of(digest)
    path = folder / name
    if path.exists():
        return path
    data = store.read(decode_file_key(name))
    _check(name, data)
    with os_errors_translated(name):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".", delete=False) as file:
            file.write(data)
        Path(file.name).replace(path)
    return path


def name_of(digest: str) -> str:
    """What a decode file is called.

    Args:
        digest: its SHA-256 in hexadecimal, or the first 16 digits of that.

    Raises:
        InvalidRequest: ``digest`` is no such hash.
    """
    digits = digest.lower()[:HASH_DIGITS]
    if len(digits) < HASH_DIGITS or not set(digits) <= set("0123456789abcdef"):
        raise InvalidRequest(f"{digest!r} is not the SHA-256 of a decode file")
    return f"{digits}{SUFFIX}"


def _check(name: str, data: bytes) -> None:
    found = hashlib.sha256(data).hexdigest()
    if not found.startswith(name.removesuffix(SUFFIX)):
        raise DamagedDecodeFile(f"{name} has the hash {found[:HASH_DIGITS]}")
