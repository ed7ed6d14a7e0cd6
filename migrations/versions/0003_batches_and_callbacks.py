"""Batches, callbacks, and indexes for estimates of the time that is left."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, the column and the indexes."""
    _create_batches()
    _create_callbacks()
    op.add_column("encodings", sa.Column("destination", sa.Text(), nullable=True))
    op.create_index(op.f("ix_encodings_batch_id_status"), "encodings", ["batch_id", "status"])
    op.create_index(
        op.f("ix_encodings_status_priority_id"), "encodings", ["status", "priority", "id"]
    )
    op.create_index(
        op.f("ix_attempts_kind_outcome_ended_at"), "attempts", ["kind", "outcome", "ended_at"]
    )


def _create_batches() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("owner_id", sa.String(length=40), nullable=False),
        sa.Column("request_sha256", sa.String(length=64), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("include", sa.Text(), nullable=True),
        sa.Column("out", sa.Text(), nullable=True),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("callback_url", sa.Text(), nullable=True),
        sa.Column("listing", sa.String(length=16), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=True),
        sa.Column("num_objects", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(length=200), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("errors", sa.Integer(), nullable=False),
        sa.Column("lost_leases", sa.Integer(), nullable=False),
        sa.Column("error_code", sa.String(length=100), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "listing IN ('queued', 'leased', 'done', 'failed')", name=op.f("ck_batches_listing")
        ),
        sa.CheckConstraint(
            "(listing = 'leased') = (lease_owner IS NOT NULL AND lease_expires_at IS NOT NULL)",
            name=op.f("ck_batches_lease"),
        ),
        sa.CheckConstraint("priority BETWEEN 0 AND 9", name=op.f("ck_batches_priority")),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["api_keys.id"], name=op.f("fk_batches_owner_id_api_keys")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
        sa.UniqueConstraint(
            "owner_id", "request_sha256", name=op.f("uq_batches_owner_id_request_sha256")
        ),
    )
    op.create_index(op.f("ix_batches_listing_not_before"), "batches", ["listing", "not_before"])


def _create_callbacks() -> None:
    op.create_table(
        "callbacks",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("encoding_id", sa.String(length=40), nullable=False),
        sa.Column("owner_id", sa.String(length=40), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('pending', 'delivered', 'gave_up')", name=op.f("ck_callbacks_status")
        ),
        sa.ForeignKeyConstraint(
            ["encoding_id"],
            ["encodings.id"],
            name=op.f("fk_callbacks_encoding_id_encodings"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["api_keys.id"], name=op.f("fk_callbacks_owner_id_api_keys")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_callbacks")),
    )
    op.create_index(op.f("ix_callbacks_encoding_id"), "callbacks", ["encoding_id"])
    op.create_index(op.f("ix_callbacks_status_not_before"), "callbacks", ["status", "not_before"])


def downgrade() -> None:
    """Drop them; encodings of batches stay."""
    op.drop_index(op.f("ix_attempts_kind_outcome_ended_at"), "attempts")
    op.drop_index(op.f("ix_encodings_status_priority_id"), "encodings")
    op.drop_index(op.f("ix_encodings_batch_id_status"), "encodings")
    op.drop_column("encodings", "destination")
    op.drop_table("callbacks")
    op.drop_table("batches")
