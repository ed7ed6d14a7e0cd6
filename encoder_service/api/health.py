"""For machines that look after the service: alive, ready, and numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from encoder_service.api.context import Here
from encoder_service.api.measuring import REQUESTS
from encoder_service.api.problems import documented
from encoder_service.errors import DatabaseUnavailable, ObjectMissing, StorageUnavailable
from encoder_service.jobs.states import EncodingStatus, UnitKind, UnitStatus
from encoder_service.schema import is_current
from encoder_service.workload import NOTHING, Workload, measure

router = APIRouter(tags=["operation"])


@router.get("/healthz", summary="Whether the process answers")
async def healthz() -> dict[str, str]:
    """Says nothing about what the service depends on."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    summary="Whether requests can be served",
    responses=documented(DatabaseUnavailable, StorageUnavailable),
)
def readyz(context: Here) -> dict[str, str]:
    """Asks the database and the object store."""
    if not is_current(context.database):
        raise DatabaseUnavailable("the schema is not the newest; run: nrv migrate")
    with suppress(ObjectMissing):  # an answer, too
        context.locations.own.stat("ready")
    return {"status": "ready"}


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
def metrics(context: Here) -> Response:
    """Jobs are counted in the database, so that every API process gives the same numbers."""
    registry = CollectorRegistry()
    registry.register(_Jobs(measure(context.database)))
    return Response(generate_latest(registry) + _requests(), media_type=CONTENT_TYPE_LATEST)


def _requests() -> bytes:
    """Durations of requests, of all processes that serve them together."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REQUESTS)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


class _Jobs(Collector):
    """A workload in Prometheus' words."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Give every number; what is zero is said, too, where all labels are known."""
        seen = self._workload
        yield _gauge(
            "nrv_encodings",
            "Encodings by status",
            ("status",),
            {(status,): seen.encodings.get(status, 0) for status in EncodingStatus},
        )
        yield _gauge(
            "nrv_units",
            "Units of work that wait for a worker or that a worker is at",
            ("kind", "status"),
            {
                (kind, status): number
                for kind in UnitKind
                for status, number in (
                    (UnitStatus.QUEUED, seen.waiting.get(kind, NOTHING).units),
                    (UnitStatus.LEASED, seen.leased.get(kind, 0)),
                )
            },
        )
        yield _gauge(
            "nrv_queue_oldest_seconds",
            "How long the unit that waits longest has been due",
            ("kind",),
            {(kind,): each.oldest_seconds for kind, each in seen.waiting.items()},
        )
        yield _gauge("nrv_leases_overdue", "Leases without heartbeat", (), {(): seen.overdue})
        yield _gauge(
            "nrv_attempts_last_hour",
            "Attempts that ended within the last hour",
            ("kind", "outcome", "reason"),
            {(kind, outcome, reason): n for (kind, outcome, reason), n in seen.attempts.items()},
        )


def _gauge(
    name: str, meaning: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family
