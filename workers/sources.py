"""Sources on this machine's disk: fetched once per encoding, removed when they are old."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from encoder_service.errors import SourceChanged
from encoder_service.jobs.records import Encoding
from encoder_service.storage.base import ObjectInfo, download
from encoder_service.storage.disk import os_errors_translated
from encoder_service.storage.locations import Locations


class SourceCache:
    """A folder of sources.

    Args:
        folder: created when missing; may be shared by the workers of a machine.
        locations: where sources come from.
        max_bytes: beyond it, sources unused for longest are removed before another is fetched.
    """

    def __init__(self, folder: Path, locations: Locations, *, max_bytes: int) -> None:
        self.folder = folder
        self._locations = locations
        self._max_bytes = max_bytes

    def stat(self, encoding: Encoding) -> ObjectInfo:
        """What the store knows about the source of an encoding."""
        store, key = self._locations.source(encoding.source)
        return store.stat(key)

    def fetch(self, encoding: Encoding, *, etag: str) -> Path:
        """The source of an encoding as a file, downloaded when it is not here yet.

        Args:
            encoding: whose source.
            etag: what `stat` said when the encoding was planned.

        Raises:
            SourceChanged: the object is not the one that was planned.
        """
        path = self.folder / encoding.id / "source"
        with os_errors_translated(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                os.utime(path)
                return path
        self._make_room(keep=path)
        if self.stat(encoding).etag != etag:
            raise SourceChanged(f"{encoding.source} was replaced since it was planned")
        store, key = self._locations.source(encoding.source)
        download(store, key, path)
        return path

    def forget(self, encoding: Encoding) -> None:
        """Remove what lies here for an encoding that is done."""
        shutil.rmtree(self.folder / encoding.id, ignore_errors=True)

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """An empty folder on the same disk that is gone afterwards."""
        with os_errors_translated(str(self.folder)):
            self.folder.mkdir(parents=True, exist_ok=True)
            folder = TemporaryDirectory(dir=self.folder, prefix=".work-")
        with folder as name:
            yield Path(name)

    def _make_room(self, *, keep: Path) -> None:
        found: list[tuple[float, int, Path]] = []
        for path in self.folder.glob("*/source"):
            with suppress(FileNotFoundError):  # another worker may be making room as well
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._max_bytes:
                return
            if path != keep:
                shutil.rmtree(path.parent, ignore_errors=True)
                total -= size
