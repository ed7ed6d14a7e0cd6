"""From a message to a result: win the lease, do the work, store it, say what comes next.

    plan      stat and fetch the source, cut it into segments
    segment   fetch the source, encode, verify (the codec does), store the bytes
    assemble  fetch the segments, check them, join them, store the stream, and a copy of it where
              the user wants one; afterwards, and without a lease, the preview

Knows nothing of Celery: the same class runs in a worker's child process and in a test.
"""

from __future__ import annotations

import hashlib
import io
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from encoder_service.errors import DatabaseUnavailable, LeaseLost, ServiceError
from encoder_service.jobs.commands import send
from encoder_service.jobs.queries import JobQueries
from encoder_service.jobs.records import Encoding, Lease, Message, Unit, UnitKey
from encoder_service.jobs.repository import JobRepository
from encoder_service.jobs.states import UnitKind
from encoder_service.queue import InMemoryQueue, JobQueue
from encoder_service.storage.base import (
    ObjectStore,
    download,
    segment_key,
    stream_key,
)
from encoder_service.storage.locations import Locations
from encoder_service.telemetry import bind, fields
from hypernet.errors import EncodeFailed
from workers.codec import Json, SegmentCodec, Supervision
from workers.failures import is_no_fault, pause_seconds, to_failure
from workers.lease import Keeper
from workers.previews import Previewer
from workers.sources import SourceCache

T = TypeVar("T")

log = logging.getLogger(__name__)

COMMIT_PAUSES_SECONDS = (0.5, 1.0, 2.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pipeline:
    """Everything a worker needs.

    Attributes:
        jobs: leases and results.
        queue: where messages about the next units go.
        store: our own object store.
        sources: sources on this machine's disk.
        locations: where copies of streams go.
        codec: does the real work.
        previews: makes something to look at.
        keep: makes what keeps a lease alive while it is worked under.
        worker: the name of this worker, shown to operators.
    """

    jobs: JobRepository
    queue: JobQueue
    store: ObjectStore
    sources: SourceCache
    locations: Locations
    codec: SegmentCodec
    previews: Previewer
    keep: Callable[[Lease], Keeper]
    worker: str

    def run(self, key: UnitKey) -> None:
        """Do one unit of work, if it still needs doing. Failures are stored, not raised.

        Raises:
            DatabaseUnavailable: nothing could be leased.
        """
        lease = self.jobs.lease(key, self.worker)
        if lease is None:
            log.debug("nothing to do", extra=fields(unit=str(key)))
            return
        with bind(encoding_id=key.encoding_id, unit=str(key), attempt=lease.attempt):
            self._run_leased(lease)

    def drain(self, queue: InMemoryQueue) -> int:
        """Do every unit that messages in a queue name, and what follows; returns how many."""
        done = 0
        while (key := queue.receive()) is not None:
            self.run(key)
            done += 1
        return done

    def _run_leased(self, lease: Lease) -> None:
        started = time.monotonic()
        try:
            with self.keep(lease) as keeper:
                next_units = self._work(lease, keeper)
        except Exception as error:  # whatever happened, somebody must be told why
            self._hand_back(lease, error)
            return
        log.info("unit done", extra=fields(seconds=round(time.monotonic() - started, 3)))
        priority = lease.encoding.priority
        send(self.queue, [Message(unit=unit, priority=priority) for unit in next_units])
        if lease.unit.kind is UnitKind.ASSEMBLE:
            self.previews.make(lease.encoding)

    def _work(self, lease: Lease, keeper: Keeper) -> Sequence[UnitKey]:
        match lease.unit.kind:
            case UnitKind.PLAN:
                return self._plan(lease, keeper)
            case UnitKind.SEGMENT:
                return self._encode_segment(lease, keeper)
            case UnitKind.ASSEMBLE:
                return self._assemble(lease)

    # The three kinds of work

    def _plan(self, lease: Lease, keeper: Keeper) -> Sequence[UnitKey]:
        info = self.sources.stat(lease.encoding)
        source = self.sources.fetch(lease.encoding, etag=info.etag)
        made = self.codec.plan(source, _settings(lease), _supervision(keeper))
        plan = {"codec": made.plan, "source_etag": info.etag, "source_bytes": info.size}
        return _until_heard(
            lambda: self.jobs.finish_plan(lease, plan=plan, segment_frames=made.segment_frames)
        )

    def _encode_segment(self, lease: Lease, keeper: Keeper) -> Sequence[UnitKey]:
        encoding, index = lease.encoding, lease.unit.index
        source, plan = self._planned(encoding)
        encoded = self.codec.encode_segment(
            source, plan, index, _settings(lease), _supervision(keeper)
        )
        key = segment_key(encoding.id, index, lease.attempt)
        self.store.put(key, io.BytesIO(encoded.payload))
        result = {
            "key": key,
            "bytes": len(encoded.payload),
            "sha256": hashlib.sha256(encoded.payload).hexdigest(),
            "metrics": dict(encoded.metrics),
        }
        return _until_heard(
            lambda: self.jobs.finish_segment(lease, result=result, num_frames=encoded.num_frames)
        )

    def _assemble(self, lease: Lease) -> Sequence[UnitKey]:
        encoding = lease.encoding
        source, plan = self._planned(encoding)
        with self.sources.workspace() as folder:
            results = [self._fetch_segment(unit, folder) for unit in self._segments(encoding)]
            output = folder / "stream.nrv"
            result = self.codec.assemble(
                source=source,
                plan=plan,
                settings=_settings(lease),
                payloads=[path for path, _ in results],
                metrics=[metrics for _, metrics in results],
                output=output,
            )
            self.jobs.publish(lease)
            with output.open("rb") as stream:
                key = stream_key(encoding.id, hashlib.file_digest(stream, "sha256").hexdigest())
                stream.seek(0)
                self.store.put(key, stream)
                self._copy(stream, encoding.destination)
        _until_heard(lambda: self.jobs.finish_assembly(lease, result=result, stream_key=key))
        self.sources.forget(encoding)
        return []

    def _copy(self, stream: BinaryIO, destination: str | None) -> None:
        """Store a stream where its user wants it; every attempt at assembling makes the same."""
        if destination is not None:
            store, key = self.locations.source(destination)
            stream.seek(0)
            store.put(key, stream)

    # What they share

    def _planned(self, encoding: Encoding) -> tuple[Path, str]:
        """The source and the codec's plan of an encoding whose plan is done."""
        if encoding.plan is None:
            raise EncodeFailed(f"encoding {encoding.id} has no plan; retry it")
        source = self.sources.fetch(encoding, etag=str(encoding.plan["source_etag"]))
        return source, str(encoding.plan["codec"])

    def _segments(self, encoding: Encoding) -> list[Unit]:
        units = JobQueries(self.jobs.database).units(encoding.owner_id, encoding.id)
        return [unit for unit in units if unit.key.kind is UnitKind.SEGMENT]

    def _fetch_segment(self, unit: Unit, folder: Path) -> tuple[Path, Json]:
        result = dict(unit.result or {})
        path = folder / f"{unit.key.index:05d}"
        download(self.store, str(result["key"]), path)
        if hashlib.sha256(path.read_bytes()).hexdigest() != result["sha256"]:
            raise EncodeFailed(f"segment {unit.key.index}: its stored bytes are damaged")
        metrics = result["metrics"]
        return path, metrics if isinstance(metrics, dict) else {}

    def _hand_back(self, lease: Lease, error: Exception) -> None:
        """Give a unit back after a failure; if even that fails, its lease runs out."""
        failure = to_failure(error, scratch=self.sources.folder)
        try:
            if isinstance(error, LeaseLost):
                log.warning("attempt overtaken: %s", error)
            elif is_no_fault(error):
                pause = pause_seconds(error, self.jobs.settings)
                self.jobs.release(lease, failure, pause_seconds=pause)
                log.info("unit released: %s", error)
            else:
                log.error("attempt failed", exc_info=error)
                self.jobs.fail(lease, failure)
        except ServiceError as again:
            log.warning("could not hand the unit back: %s", again)


def _supervision(keeper: Keeper) -> Supervision:
    return Supervision(report=keeper.report, should_stop=keeper.should_stop)


def _settings(lease: Lease) -> Json:
    if lease.fallback_preset is None:
        return lease.encoding.settings
    return {**lease.encoding.settings, "preset": lease.fallback_preset}


def _until_heard(commit: Callable[[], T]) -> T:
    """Repeat a commit that the database may or may not have heard; finishing twice is harmless."""
    for pause in COMMIT_PAUSES_SECONDS:
        try:
            return commit()
        except DatabaseUnavailable:
            time.sleep(pause)
    return commit()
