"""What the API says of batches."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field

from encoder_service.jobs.records import Batch
from encoder_service.jobs.states import EncodingStatus, ListingStatus


class BatchStatus(StrEnum):
    """Where a batch is; it follows from its listing and its encodings."""

    LISTING = "listing"  # more objects may be found
    ENCODING = "encoding"  # every object is submitted, some are not done
    SUCCEEDED = "succeeded"  # every encoding has
    FAILED = "failed"  # the listing has, or an encoding has or was cancelled


class BatchCounts(BaseModel):
    """Encodings by status."""

    queued: int = Field(examples=[150])
    encoding: int = Field(examples=[2])
    succeeded: int = Field(examples=[47])
    failed: int = Field(examples=[1])
    cancelled: int = Field(examples=[0])


class BatchView(BaseModel):
    """A batch and how far it is."""

    id: str = Field(examples=["bat_01kagr7y3v"])
    status: BatchStatus
    source: str = Field(examples=["s3://films/2026/"])
    include: str | None = Field(examples=["*.mp4"])
    out: str | None = Field(examples=["s3://streams/2026"])
    settings: dict[str, Any]
    priority: int
    labels: list[str]
    callback_url: str | None
    listing: ListingStatus = Field(description="the search for objects")
    objects: int = Field(description="found by this search so far", examples=[200])
    encodings: BatchCounts
    error_code: str | None = Field(description="of the listing")
    error_message: str | None
    created_at: datetime
    links: dict[str, str]

    @classmethod
    def of(cls, batch: Batch, counts: Mapping[str, int]) -> BatchView:
        """The view of a record and of what its encodings are."""
        return cls(
            id=batch.id,
            status=_status(batch, counts),
            source=batch.source,
            include=batch.include,
            out=batch.out,
            settings=dict(batch.settings),
            priority=batch.priority,
            labels=list(batch.labels),
            callback_url=batch.callback_url,
            listing=batch.listing,
            objects=batch.num_objects,
            encodings=BatchCounts(**dict(counts)),
            error_code=batch.error_code,
            error_message=batch.error_message,
            created_at=batch.created_at,
            links={
                "self": f"/v1/batches/{batch.id}",
                "encodings": f"/v1/encodings?batch={batch.id}",
            },
        )


def _status(batch: Batch, counts: Mapping[str, int]) -> BatchStatus:
    if batch.listing in {ListingStatus.QUEUED, ListingStatus.LEASED}:
        return BatchStatus.LISTING
    if counts[EncodingStatus.QUEUED] or counts[EncodingStatus.ENCODING]:
        return BatchStatus.ENCODING
    ended_badly = counts[EncodingStatus.FAILED] or counts[EncodingStatus.CANCELLED]
    if batch.listing is ListingStatus.FAILED or ended_badly:
        return BatchStatus.FAILED
    return BatchStatus.SUCCEEDED
