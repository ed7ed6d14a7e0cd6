"""What the operating system's refusals mean."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from encoder_service.errors import (
    InvalidKey,
    ObjectMissing,
    StorageDenied,
    StorageError,
    StorageFull,
    StorageUnavailable,
)

MEANINGS: dict[int | None, type[StorageError]] = {
    errno.ENOSPC: StorageFull,
    errno.EDQUOT: StorageFull,
    errno.EFBIG: StorageFull,
    errno.EACCES: StorageDenied,
    errno.EPERM: StorageDenied,
    errno.EROFS: StorageDenied,
    errno.ENOENT: ObjectMissing,
    errno.ENOTDIR: ObjectMissing,
    errno.EISDIR: ObjectMissing,
    errno.ENAMETOOLONG: InvalidKey,
}


@contextmanager
def os_errors_translated(name: str) -> Iterator[None]:
    """Raise `StorageError` instead of `OSError`; ``name`` says what was being touched."""
    try:
        yield
    except OSError as error:
        meaning = MEANINGS.get(error.errno, StorageUnavailable)
        raise meaning(f"{name}: {error.strerror}") from error
