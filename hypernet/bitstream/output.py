"""Writing a file so that it appears complete or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hypernet.errors import OutputNotWritable


@contextmanager
def atomic_output(path: Path | str) -> Iterator[BinaryIO]:
    """A writable file that takes the name ``path`` when the block ends without an error.

    Until then the bytes lie under a temporary name in the same folder, removed on any error or
    interrupt, and a file already at ``path`` stays as it is. A device or pipe is written directly.

    Raises:
        OutputNotWritable: missing folder, no permission, a folder at ``path``, or a full disk.
    """
    target = Path(path).resolve()
    temporary = target.parent / f".{secrets.token_hex(8)}.part"
    try:
        if target.is_dir():
            raise IsADirectoryError(None, "is a folder; name a file")
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(None, "exists and is read-only")
        if target.exists() and not target.is_file():
            with target.open("wb") as file:
                yield file
            return
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        _remove(temporary)
        if error.filename is not None and Path(error.filename) not in {target, temporary}:
            raise
        raise OutputNotWritable(f"cannot write {path}: {error.strerror or error}") from error
    except BaseException:
        _remove(temporary)
        raise


def _remove(temporary: Path) -> None:
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)
