"""From a batch to its encodings: list the objects below a prefix, page after page, and submit them.

The listing is streamed: whatever its length, one page of it is held. It goes on where the last page
was stored, whoever stored it.
"""

from __future__ import annotations

import itertools
import logging
import threading
from dataclasses import dataclass

from encoder_service.errors import LeaseLost, ServiceError
from encoder_service.jobs.batches import belongs
from encoder_service.jobs.commands import send
from encoder_service.jobs.listings import ListingRepository
from encoder_service.jobs.records import Batch
from encoder_service.queue import JobQueue
from encoder_service.storage.locations import Locations
from encoder_service.telemetry import bind, fields
from hypernet.errors import Cancelled
from workers.failures import is_no_fault, pause_seconds, to_failure

log = logging.getLogger(__name__)

PAGE = 100  # objects that one transaction submits


@dataclass(frozen=True, kw_only=True, slots=True)
class Lister:
    """Everything that listing needs.

    Attributes:
        listings: leases and cursors.
        queue: where messages about the new encodings go.
        locations: where the objects are.
        worker: the name of this worker, shown to operators.
        shutdown: set when this worker must stop soon.
    """

    listings: ListingRepository
    queue: JobQueue
    locations: Locations
    worker: str
    shutdown: threading.Event

    def run(self, batch_id: str) -> None:
        """List a batch, if it still needs listing. Failures are stored, not raised.

        Raises:
            DatabaseUnavailable: nothing could be leased.
        """
        lease = self.listings.lease(batch_id, self.worker)
        if lease is None:
            log.debug("nothing to do", extra=fields(batch_id=batch_id))
            return
        with bind(batch_id=batch_id, attempt=lease.attempt):
            try:
                self._list(lease)
            except Exception as error:  # whatever happened, somebody must be told why
                self._hand_back(lease, error)

    def _list(self, lease: Batch) -> None:
        store, prefix = self.locations.prefix(lease.source)
        objects = store.list(prefix, after=lease.cursor or "")
        while page := list(itertools.islice(objects, PAGE)):
            wanted = [each for each in page if belongs(lease, each.key)]
            send(self.queue, self.listings.submit_page(lease, wanted, cursor=page[-1].key))
            if self.shutdown.is_set():
                raise Cancelled("this worker is told to stop")
        self.listings.finish(lease)
        log.info("listing done")

    def _hand_back(self, lease: Batch, error: Exception) -> None:
        """Give a listing back after a failure; if even that fails, its lease runs out."""
        try:
            if isinstance(error, LeaseLost):
                log.warning("attempt overtaken: %s", error)
            elif is_no_fault(error):
                pause = pause_seconds(error, self.listings.settings)
                self.listings.release(lease, pause_seconds=pause)
                log.info("listing released: %s", error)
            else:
                log.error("listing failed", exc_info=error)
                self.listings.fail(lease, to_failure(error))
        except ServiceError as again:
            log.warning("could not hand the listing back: %s", again)
