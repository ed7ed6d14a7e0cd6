"""The tables. What they mean is said in `encoder_service.jobs.records`; migrations follow them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from encoder_service.database import Moment
from encoder_service.jobs.states import (
    CallbackStatus,
    EncodingStatus,
    ListingStatus,
    Outcome,
    Phase,
    UnitKind,
    UnitStatus,
)

# Constraints have names of their own, so that a later migration can drop them on any database.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _one_of(column: str, values: Iterable[StrEnum]) -> CheckConstraint:
    allowed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({allowed})", name=column)


api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("secret_sha256", String(64), nullable=False, unique=True),
    Column("created_at", Moment, nullable=False),
    Column("revoked_at", Moment),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("owner_id", String(40), ForeignKey(api_keys.c.id), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("part_bytes", BigInteger, nullable=False),
    Column("multipart_id", Text),
    Column("created_at", Moment, nullable=False),
    Column("completed_at", Moment),
    CheckConstraint("size_bytes > 0 AND part_bytes > 0", name="sizes"),
)

encodings = Table(
    "encodings",
    metadata,
    Column("id", String(40), primary_key=True),  # sorts by time of submission
    Column("owner_id", String(40), ForeignKey(api_keys.c.id), nullable=False),
    Column("status", String(16), nullable=False),
    Column("phase", String(16)),
    Column("source", Text, nullable=False),
    Column("settings", JSON, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("callback_url", Text),
    Column("batch_id", String(40)),
    Column("destination", Text),
    Column("idempotency_key", String(200)),
    Column("request_sha256", String(64), nullable=False),
    Column("labels", JSON, nullable=False),
    Column("plan", JSON(none_as_null=True)),
    Column("num_frames", Integer),
    Column("retries", Integer, nullable=False),
    Column("num_events", Integer, nullable=False),
    Column("result", JSON(none_as_null=True)),
    Column("stream_key", Text),
    Column("error_code", String(100)),
    Column("error_message", Text),
    Column("cancel_requested_at", Moment),
    Column("created_at", Moment, nullable=False),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    _one_of("status", EncodingStatus),
    _one_of("phase", Phase),
    CheckConstraint("priority BETWEEN 0 AND 9", name="priority"),
    UniqueConstraint("owner_id", "idempotency_key"),
    Index(None, "owner_id", "id"),
    Index(None, "owner_id", "status", "id"),
    Index(None, "batch_id", "id"),
    Index(None, "batch_id", "status"),  # a batch's progress
    Index(None, "status", "priority", "id"),  # what is served first
)

labels = Table(
    "labels",
    metadata,
    Column("label", String(100), primary_key=True),
    Column("encoding_id", String(40), ForeignKey(encodings.c.id), primary_key=True),
)

_unit_key = ("encoding_id", "kind", "index")

units = Table(
    "units",
    metadata,
    Column("encoding_id", String(40), ForeignKey(encodings.c.id), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("index", Integer, primary_key=True),
    Column("status", String(16), nullable=False),
    Column("num_frames", Integer, nullable=False),
    Column("progress_frames", Integer, nullable=False),
    Column("fallback_preset", String(40)),
    Column("result", JSON(none_as_null=True)),
    Column("attempt", Integer, nullable=False),  # the fencing number: grows with every lease
    Column("lease_owner", String(200)),
    Column("lease_expires_at", Moment),
    Column("not_before", Moment, nullable=False),
    Column("sent_at", Moment),
    Column("errors", Integer, nullable=False),
    Column("lost_leases", Integer, nullable=False),
    Column("error_code", String(100)),
    Column("error_message", Text),
    _one_of("kind", UnitKind),
    _one_of("status", UnitStatus),
    CheckConstraint(
        "(status = 'leased') = (lease_owner IS NOT NULL AND lease_expires_at IS NOT NULL)",
        name="lease",
    ),
    Index(None, "status", "lease_expires_at"),
    Index(None, "status", "not_before"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("encoding_id", String(40), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("index", Integer, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("worker", String(200), nullable=False),
    Column("leased_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Column("outcome", String(16)),
    Column("error_code", String(100)),
    Column("error_message", Text),
    _one_of("outcome", Outcome),
    ForeignKeyConstraint(_unit_key, [units.c[name] for name in _unit_key]),
    Index(None, "kind", "outcome", "ended_at"),  # how fast segments were lately
)

events = Table(
    "events",
    metadata,
    Column("encoding_id", String(40), ForeignKey(encodings.c.id), primary_key=True),
    Column("sequence", Integer, primary_key=True),  # 1, 2, 3... without gaps per encoding
    Column("event", String(20), nullable=False),
    Column("at", Moment, nullable=False),
    Column("kind", String(16)),
    Column("index", Integer),
    Column("attempt", Integer),
    Column("detail", JSON, nullable=False),
    _one_of("kind", UnitKind),
)

batches = Table(
    "batches",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("owner_id", String(40), ForeignKey(api_keys.c.id), nullable=False),
    Column("request_sha256", String(64), nullable=False),
    Column("source", Text, nullable=False),
    Column("include", Text),
    Column("out", Text),
    Column("settings", JSON, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("callback_url", Text),
    Column("listing", String(16), nullable=False),
    Column("cursor", Text),
    Column("num_objects", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("lease_owner", String(200)),
    Column("lease_expires_at", Moment),
    Column("not_before", Moment, nullable=False),
    Column("sent_at", Moment),
    Column("errors", Integer, nullable=False),
    Column("lost_leases", Integer, nullable=False),
    Column("error_code", String(100)),
    Column("error_message", Text),
    Column("created_at", Moment, nullable=False),
    _one_of("listing", ListingStatus),
    CheckConstraint(
        "(listing = 'leased') = (lease_owner IS NOT NULL AND lease_expires_at IS NOT NULL)",
        name="lease",
    ),
    CheckConstraint("priority BETWEEN 0 AND 9", name="priority"),
    UniqueConstraint("owner_id", "request_sha256"),
    Index(None, "listing", "not_before"),
)

callbacks = Table(
    "callbacks",
    metadata,
    Column("id", String(40), primary_key=True),
    Column(
        "encoding_id",
        String(40),
        ForeignKey(encodings.c.id, ondelete="CASCADE"),
        nullable=False,
    ),
    Column("owner_id", String(40), ForeignKey(api_keys.c.id), nullable=False),
    Column("url", Text, nullable=False),
    Column("payload", JSON, nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("not_before", Moment, nullable=False),
    Column("last_error", Text),
    Column("created_at", Moment, nullable=False),
    Column("ended_at", Moment),
    _one_of("status", CallbackStatus),
    Index(None, "encoding_id"),
    Index(None, "status", "not_before"),
)
