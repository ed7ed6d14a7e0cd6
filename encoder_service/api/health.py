"""For machines that look after the service: alive, ready, and numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from encoder_service.api.context import Here
from encoder_service.api.problems import documented
from encoder_service.errors import DatabaseUnavailable, ObjectMissing, StorageUnavailable
from encoder_service.jobs.queries import JobQueries
from encoder_service.schema import is_current

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
    """Counted in the database when asked, so that every API process gives the same numbers."""
    registry = CollectorRegistry()
    registry.register(_Counts(context.queries))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Counts(Collector):
    def __init__(self, queries: JobQueries) -> None:
        self._queries = queries

    def collect(self) -> Iterator[GaugeMetricFamily]:
        encodings = GaugeMetricFamily("nrv_encodings", "Encodings by status", labels=["status"])
        for status, count in self._queries.count_encodings().items():
            encodings.add_metric([status], count)
        yield encodings
        waiting = GaugeMetricFamily(
            "nrv_units", "Units of work of active encodings", labels=["kind", "status"]
        )
        for (kind, unit_status), count in self._queries.count_active_units().items():
            waiting.add_metric([kind, unit_status], count)
        yield waiting
