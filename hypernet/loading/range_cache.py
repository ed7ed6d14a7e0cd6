"""Ranges of remote streams on a local disk: least recently used go first."""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from hypernet.errors import InvalidSettings, OutputNotWritable

DEFAULT_BYTES = 4 << 30
_KEPT_SHARE = 0.75  # what is left after making room
_UNCOUNTED_SHARE = 1 / 64  # written by one process before all is counted again
_UNFINISHED = "unfinished-"


class RangeCache:
    """A folder of byte ranges that several processes may share.

    Every process counts again after it has written a 64th of ``max_bytes``, and makes room by then
    at the latest: with up to sixteen writers the folder stays below ``max_bytes``.

    Args:
        folder: made if it is missing.
        max_bytes: of all ranges together.

    Raises:
        OutputNotWritable: the folder cannot be made.
        InvalidSettings: no room for anything.
    """

    def __init__(self, folder: Path | str, max_bytes: int = DEFAULT_BYTES) -> None:
        if max_bytes < 1:
            raise InvalidSettings(f"a cache of {max_bytes} bytes holds nothing; leave it out")
        self.folder, self.max_bytes = Path(folder), max_bytes
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputNotWritable(f"cannot make {self.folder}: {error.strerror}") from error
        self._uncounted = max_bytes  # so that the first write counts what is there

    def get(self, key: str) -> bytes | None:
        """The bytes kept under a key, which are then the most recently used."""
        path = self._path(key)
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return data

    def put(self, key: str, data: bytes) -> None:
        """Keep bytes; a disk that does not take them costs speed only."""
        if len(data) > self.max_bytes * _KEPT_SHARE:
            return
        self._uncounted += len(data)
        if self._uncounted > self.max_bytes * _UNCOUNTED_SHARE:
            self._make_room(len(data))
        try:
            handle, name = tempfile.mkstemp(prefix=_UNFINISHED, dir=self.folder)
        except OSError:
            return
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(name).replace(self._path(key))
        except OSError:
            Path(name).unlink(missing_ok=True)

    def _make_room(self, coming: int) -> None:
        """Count everything, and remove the oldest if it comes near the bound."""
        self._uncounted = 0
        found: list[tuple[float, int, str]] = []
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(OSError):  # another process was faster
                    status = entry.stat()
                    found.append((status.st_mtime, status.st_size, entry.path))
        total = coming + sum(size for _, size, _ in found)
        if total <= self.max_bytes * _KEPT_SHARE:
            return
        for _, size, path in sorted(found):
            if total <= self.max_bytes * (_KEPT_SHARE - _UNCOUNTED_SHARE):
                break
            with suppress(OSError):
                Path(path).unlink()
            total -= size

    def _path(self, key: str) -> Path:
        return self.folder / hashlib.sha256(key.encode()).hexdigest()
