"""Encodings, their units of work, attempts and history; API keys.

Frozen: it says what the schema was, so it takes nothing from the code of today.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    _create_keys()
    _create_encodings()
    _create_history()
    _create_units()


def _create_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("secret_sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("secret_sha256", name=op.f("uq_api_keys_secret_sha256")),
    )


def _create_encodings() -> None:
    op.create_table(
        "encodings",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("owner_id", sa.String(length=40), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("callback_url", sa.Text(), nullable=True),
        sa.Column("batch_id", sa.String(length=40), nullable=True),
        sa.Column("idempotency_key", sa.String(length=200), nullable=True),
        sa.Column("request_sha256", sa.String(length=64), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("plan", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("num_frames", sa.Integer(), nullable=True),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("num_events", sa.Integer(), nullable=False),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("stream_key", sa.Text(), nullable=True),
        sa.Column("error_code", sa.String(length=100), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "phase IN ('plan', 'encode', 'assemble', 'publish')", name=op.f("ck_encodings_phase")
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'encoding', 'succeeded', 'failed', 'cancelled')",
            name=op.f("ck_encodings_status"),
        ),
        sa.CheckConstraint("priority BETWEEN 0 AND 9", name=op.f("ck_encodings_priority")),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["api_keys.id"], name=op.f("fk_encodings_owner_id_api_keys")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_encodings")),
        sa.UniqueConstraint(
            "owner_id", "idempotency_key", name=op.f("uq_encodings_owner_id_idempotency_key")
        ),
    )
    op.create_index(op.f("ix_encodings_batch_id_id"), "encodings", ["batch_id", "id"])
    op.create_index(op.f("ix_encodings_owner_id_id"), "encodings", ["owner_id", "id"])
    op.create_index(
        op.f("ix_encodings_owner_id_status_id"), "encodings", ["owner_id", "status", "id"]
    )


def _create_history() -> None:
    op.create_table(
        "events",
        sa.Column("encoding_id", sa.String(length=40), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("event", sa.String(length=20), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=True),
        sa.Column("index", sa.Integer(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.CheckConstraint("kind IN ('plan', 'segment', 'assemble')", name=op.f("ck_events_kind")),
        sa.ForeignKeyConstraint(
            ["encoding_id"], ["encodings.id"], name=op.f("fk_events_encoding_id_encodings")
        ),
        sa.PrimaryKeyConstraint("encoding_id", "sequence", name=op.f("pk_events")),
    )
    op.create_table(
        "labels",
        sa.Column("label", sa.String(length=100), nullable=False),
        sa.Column("encoding_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["encoding_id"], ["encodings.id"], name=op.f("fk_labels_encoding_id_encodings")
        ),
        sa.PrimaryKeyConstraint("label", "encoding_id", name=op.f("pk_labels")),
    )


def _create_units() -> None:
    op.create_table(
        "units",
        sa.Column("encoding_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("num_frames", sa.Integer(), nullable=False),
        sa.Column("progress_frames", sa.Integer(), nullable=False),
        sa.Column("fallback_preset", sa.String(length=40), nullable=True),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(length=200), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("errors", sa.Integer(), nullable=False),
        sa.Column("lost_leases", sa.Integer(), nullable=False),
        sa.Column("error_code", sa.String(length=100), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(status = 'leased') = (lease_owner IS NOT NULL AND lease_expires_at IS NOT NULL)",
            name=op.f("ck_units_lease"),
        ),
        sa.CheckConstraint("kind IN ('plan', 'segment', 'assemble')", name=op.f("ck_units_kind")),
        sa.CheckConstraint(
            "status IN ('queued', 'leased', 'done', 'failed')", name=op.f("ck_units_status")
        ),
        sa.ForeignKeyConstraint(
            ["encoding_id"], ["encodings.id"], name=op.f("fk_units_encoding_id_encodings")
        ),
        sa.PrimaryKeyConstraint("encoding_id", "kind", "index", name=op.f("pk_units")),
    )
    op.create_index(
        op.f("ix_units_status_lease_expires_at"), "units", ["status", "lease_expires_at"]
    )
    op.create_index(op.f("ix_units_status_not_before"), "units", ["status", "not_before"])
    op.create_table(
        "attempts",
        sa.Column("encoding_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=200), nullable=False),
        sa.Column("leased_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("error_code", sa.String(length=100), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('done', 'error', 'released', 'lease_lost')",
            name=op.f("ck_attempts_outcome"),
        ),
        sa.ForeignKeyConstraint(
            ["encoding_id", "kind", "index"],
            ["units.encoding_id", "units.kind", "units.index"],
            name=op.f("fk_attempts_encoding_id_units"),
        ),
        sa.PrimaryKeyConstraint(
            "encoding_id", "kind", "index", "attempt", name=op.f("pk_attempts")
        ),
    )


def downgrade() -> None:
    """Drop the tables and all they hold."""
    op.drop_table("attempts")
    op.drop_table("units")
    op.drop_table("labels")
    op.drop_table("events")
    op.drop_table("encodings")
    op.drop_table("api_keys")
