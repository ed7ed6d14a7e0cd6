"""How long reading takes once there are very many encodings, and how the database goes about it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, event, text

from encoder_service.api_keys import create_key
from encoder_service.bench.open_loop import Call, open_loop
from encoder_service.bench.report import Figure, percentile
from encoder_service.bench.service import Service
from encoder_service.jobs.queries import Filter, JobQueries
from encoder_service.jobs.states import EncodingStatus

# Ids that are made by the clock never begin with these zeros.
FILL = {
    "encodings": """
        INSERT INTO encodings (id, owner_id, status, source, settings, priority, request_sha256,
            labels, num_frames, retries, num_events, result, stream_key, batch_id,
            created_at, started_at, finished_at)
        SELECT 'enc_' || lpad(to_hex(n), 26, '0'),
            CASE WHEN n % 2 = 0 THEN :owner ELSE :other END,
            CASE WHEN n % 100 = 0 THEN 'failed' ELSE 'succeeded' END,
            's3://bench/' || n || '.mp4', '{"preset": "nerv-s", "quality": 50}', 5,
            md5(n::text) || md5(n::text), '[]', 300, 0, 8,
            json_build_object('stream_bytes', n, 'psnr_db', 30.5, 'frames', 300, 'note',
                repeat('x', 500)),
            'encodings/' || n, 'bat_' || n / 1000,
            now() - n * interval '1 minute', now() - n * interval '1 minute',
            now() - n * interval '1 minute' + interval '20 seconds'
        FROM generate_series(1, :number) n""",
    "labels": """
        INSERT INTO labels SELECT 'rare', id FROM encodings WHERE id LIKE 'enc_0000%00'""",
    "units": """
        INSERT INTO units (encoding_id, kind, index, status, num_frames, progress_frames, result,
            attempt, not_before, errors, lost_leases)
        SELECT id, kind, 0, 'done', 60, 60, '{"key": "k", "bytes": 1000, "metrics": {}}', 1,
            created_at, 0, 0
        FROM encodings, (VALUES ('plan'), ('segment'), ('assemble')) kinds (kind)
        WHERE id LIKE 'enc_0000%'""",
    "attempts": """
        INSERT INTO attempts (encoding_id, kind, index, attempt, worker, leased_at, ended_at,
            outcome)
        SELECT encoding_id, kind, index, 1, 'bench:1', not_before,
            not_before + interval '5 seconds', 'done'
        FROM units WHERE encoding_id LIKE 'enc_0000%'""",
    "events": """
        INSERT INTO events (encoding_id, sequence, event, at, detail)
        SELECT id, n, 'leased', created_at, '{"worker": "bench:1"}'
        FROM encodings, generate_series(1, 8) n WHERE id LIKE 'enc_0000%'""",
}


def measure_reading(
    service: Service, *, number: int, per_second: float, seconds: float, seed: int = 0
) -> tuple[list[Figure], str]:
    """Fill the database and read at a fixed rate.

    Args:
        service: with an empty database.
        number: of encodings; half of them are the reader's own.
        per_second: requests.
        seconds: how long.
        seed: of what is read.

    Returns:
        The figures, and the plan of every statement that was read with.
    """
    _fill(service, number)
    kinds = _kinds(number, random.Random(seed))  # noqa: S311 - a benchmark
    calls = [
        Call(name=name, method="GET", path=make())
        for _ in range(round(per_second * seconds / len(kinds)))
        for name, make in kinds.items()
    ]
    open_loop(service.client.send, calls[: 10 * len(kinds)], per_second=per_second)  # warm up
    samples = open_loop(service.client.send, calls, per_second=per_second)
    figures = [
        Figure(measurement="read", name="encodings", value=number, unit="rows"),
        Figure(measurement="read", name="requests per second", value=per_second, unit="1/s"),
    ]
    for name in ("all", *kinds):
        mine = [1000 * each.seconds for each in samples if name in {"all", each.name}]
        figures += [
            _figure(f"{name} p50", percentile(mine, 0.5), "ms"),
            _figure(f"{name} p99", percentile(mine, 0.99), "ms", "< 50"),
        ]
    errors = sum(each.status != 200 for each in samples)
    figures.append(_figure("errors", errors, "requests", "0"))
    return figures, _plans(service, number)


def _figure(name: str, value: float, unit: str, wanted: str = "") -> Figure:
    return Figure(measurement="read", name=name, value=value, unit=unit, wanted=wanted)


def _fill(service: Service, number: int) -> None:
    other, _ = create_key(service.database, "another")
    with service.database.writing() as connection:
        for statement in FILL.values():
            given = {"owner": service.owner_id, "other": other.id, "number": number}
            names = {name: value for name, value in given.items() if f":{name}" in statement}
            connection.execute(text(statement), names)
    with service.database.engine.connect() as connection:
        committed = connection.execution_options(isolation_level="AUTOCOMMIT")
        committed.execute(text("VACUUM ANALYZE"))


def _id(number: int) -> str:
    return f"enc_{number:026x}"


def _kinds(number: int, dice: random.Random) -> dict[str, Callable[[], str]]:
    """Kinds of requests, and what makes the next path of each."""

    def own() -> str:
        return _id(2 * dice.randrange(1, number // 2))

    return {
        "one": lambda: f"/v1/encodings/{own()}",
        "newest page": lambda: "/v1/encodings?limit=50",
        "page in the middle": lambda: f"/v1/encodings?limit=50&cursor={own()}",
        "by status": lambda: f"/v1/encodings?limit=50&status=failed&cursor={own()}",
        "by label": lambda: f"/v1/encodings?limit=50&label=rare&cursor={own()}",
        "by batch": lambda: f"/v1/encodings?limit=50&batch=bat_{dice.randrange(number // 1000)}",
    }


def _plans(service: Service, number: int) -> str:
    """Ask the database to explain what the API's reads come down to."""
    queries, owner, middle = JobQueries(service.database), service.owner_id, _id(number // 2)
    reads: dict[str, Callable[[], object]] = {
        "one": lambda: (queries.encoding(owner, middle), queries.units(owner, middle)),
        "newest page": lambda: queries.encodings(owner, Filter(), limit=50),
        "page in the middle": lambda: queries.encodings(owner, Filter(), limit=50, cursor=middle),
        "by status": lambda: queries.encodings(
            owner, Filter(status=EncodingStatus.FAILED), limit=50, cursor=middle
        ),
        "by label": lambda: queries.encodings(owner, Filter(label="rare"), limit=50, cursor=middle),
        "by batch": lambda: queries.encodings(owner, Filter(batch_id="bat_7"), limit=50),
    }
    parts = []
    for name, read in reads.items():
        with _statements(service) as seen:
            read()
        for statement, parameters in seen:
            parts.append(f"== {name}\n{statement}\n\n{_explain(service, statement, parameters)}\n")
    return "\n".join(parts)


@contextmanager
def _statements(service: Service) -> Iterator[list[tuple[str, Any]]]:
    seen: list[tuple[str, Any]] = []

    def note(_connection: Connection, _cursor: object, statement: str, given: Any, *_: Any) -> None:
        if statement.lstrip().startswith("SELECT encoding") or "FROM units" in statement:
            seen.append((statement, given))

    event.listen(service.database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(service.database.engine, "before_cursor_execute", note)


def _explain(service: Service, statement: str, parameters: Any) -> str:
    with service.database.reading() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN (ANALYZE) {statement}", parameters)
        return "\n".join(row[0] for row in rows)
