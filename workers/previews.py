"""Something to look at beside every stream: made after its encoding has succeeded, without a lease.

Nobody waits for a preview. One that fails, or is cut off because the worker stops, is a line in the
history of its encoding and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from encoder_service.errors import ServiceError
from encoder_service.jobs.queries import JobQueries
from encoder_service.jobs.records import Encoding
from encoder_service.jobs.repository import JobRepository
from encoder_service.storage.base import ObjectStore, download, preview_key
from workers.failures import to_failure
from workers.sources import SourceCache

log = logging.getLogger(__name__)


class WritePreview(Protocol):
    """Writes the beginning of a stream as a small video; see `workers.preview`."""

    def __call__(self, stream_path: Path, output: Path, *, should_stop: Callable[[], bool]) -> None:
        """Write it, or raise `Cancelled` once ``should_stop`` says so."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Previewer:
    """Makes previews.

    Attributes:
        jobs: whose history tells of them.
        store: of streams and previews.
        sources: where there is room to work.
        write: does the real work.
        should_stop: whether this worker is told to stop.
    """

    jobs: JobRepository
    store: ObjectStore
    sources: SourceCache
    write: WritePreview
    should_stop: Callable[[], bool]

    def make(self, finished: Encoding) -> None:
        """Store a preview of an encoding that has succeeded; raises nothing."""
        failure = None
        try:
            self._make(finished)
        except Exception as error:  # the encoding has succeeded, whatever this was
            log.warning("no preview", exc_info=error)
            failure = to_failure(error, scratch=self.sources.folder)
        try:
            self.jobs.note_preview(finished.id, failure)
        except ServiceError as error:
            log.warning("preview not noted: %s", error)

    def _make(self, finished: Encoding) -> None:
        queries = JobQueries(self.jobs.database)
        key = str(queries.encoding(finished.owner_id, finished.id).stream_key)
        with self.sources.workspace() as folder:
            stream, output = folder / "stream.nrv", folder / "preview.mp4"
            download(self.store, key, stream)
            self.write(stream, output, should_stop=self.should_stop)
            with output.open("rb") as preview:
                self.store.put(preview_key(key), preview)
