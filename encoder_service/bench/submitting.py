"""How long a submission takes while many arrive, and whether each of them is stored."""

from __future__ import annotations

import json

from sqlalchemy import func, select

from encoder_service.bench.open_loop import Call, open_loop
from encoder_service.bench.report import Figure, percentile
from encoder_service.bench.service import BUCKET, Service
from encoder_service.jobs.states import UnitStatus
from encoder_service.tables import encodings, units

WARM_UP = 60  # requests: connections, caches, and the first compilation of every statement


def measure_submitting(service: Service, *, per_second: float, seconds: float) -> list[Figure]:
    """Submit at a fixed rate with no worker running."""
    open_loop(service.client.send, _calls(WARM_UP, "warm"), per_second=per_second / 3)
    calls = _calls(round(per_second * seconds), "run")
    samples = open_loop(service.client.send, calls, per_second=per_second)
    accepted = [sample for sample in samples if sample.status == 202]
    ids = {json.loads(sample.body)["id"] for sample in accepted}
    milliseconds = [1000 * sample.seconds for sample in samples]
    return [
        _figure("submissions per second", per_second, "1/s"),
        _figure("p50", percentile(milliseconds, 0.5), "ms"),
        _figure("p99", percentile(milliseconds, 0.99), "ms", "< 150"),
        _figure("longest", max(milliseconds), "ms"),
        _figure("errors", len(samples) - len(accepted), "requests", "0"),
        _figure("accepted and not stored", len(ids) - _stored(service, ids), "encodings", "0"),
    ]


def _calls(number: int, label: str) -> list[Call]:
    return [
        Call(
            name="submit",
            method="POST",
            path="/v1/encodings",
            body=json.dumps(
                {"source": f"s3://{BUCKET}/{label}/{index}.mp4", "preset": "debug", "steps": 10}
            ).encode(),
        )
        for index in range(number)
    ]


def _stored(service: Service, ids: set[str]) -> int:
    """How many of these have a row and a plan that waits for a worker."""
    query = (
        select(func.count())
        .select_from(encodings.join(units, units.c.encoding_id == encodings.c.id))
        .where(
            encodings.c.owner_id == service.owner_id,
            encodings.c.id.in_(ids),
            units.c.status == UnitStatus.QUEUED,
        )
    )
    with service.database.reading() as connection:
        return connection.execute(query).scalar_one()


def _figure(name: str, value: float, unit: str, wanted: str = "") -> Figure:
    return Figure(measurement="submit", name=name, value=value, unit=unit, wanted=wanted)
