"""What the job tables hold, as frozen values. Times are aware and in UTC."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from encoder_service.jobs.states import (
    CallbackStatus,
    EncodingStatus,
    Event,
    ListingStatus,
    Outcome,
    Phase,
    UnitKind,
    UnitStatus,
)

CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(prefix: str) -> str:
    """An identifier that sorts by creation time (48 bits of milliseconds) and cannot be guessed."""
    number = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    return f"{prefix}_" + "".join(CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """What a user asks for."""

    owner_id: str
    source: str  # "upload:ID" or "s3://bucket/key"
    settings: Mapping[str, object]  # preset, quality, target_psnr_db, steps, budget_seconds, seed
    priority: int = 5  # 0 is served first, 9 last
    labels: tuple[str, ...] = ()
    callback_url: str | None = None
    batch_id: str | None = None
    destination: str | None = None  # s3://bucket/key: where a copy of the stream goes
    idempotency_key: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoding:
    """One video on its way to one stream."""

    id: str
    owner_id: str
    status: EncodingStatus
    phase: Phase | None  # only while encoding
    source: str
    settings: Mapping[str, object]
    priority: int
    callback_url: str | None
    batch_id: str | None
    labels: tuple[str, ...]
    plan: Mapping[str, object] | None  # None until the plan unit is done
    num_frames: int | None  # of the source; None until planned
    retries: int
    num_events: int
    result: Mapping[str, object] | None
    stream_key: str | None  # where the stream lies in the object store
    error_code: str | None
    error_message: str | None
    cancel_requested_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    destination: str | None = None  # s3://bucket/key; a copy of the stream is there at success


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class UnitKey:
    """Names a unit of work."""

    encoding_id: str
    kind: UnitKind
    index: int = 0  # of the segment; 0 for plan and assemble

    def __str__(self) -> str:
        suffix = f"/{self.index}" if self.kind is UnitKind.SEGMENT else ""
        return f"{self.encoding_id}/{self.kind}{suffix}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A hint to workers that a unit is waiting."""

    unit: UnitKey
    priority: int  # 0 is served first, 9 last
    attempt: int = 1  # what a lease would now be; only shown, the lease itself decides


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """A unit of work as it stands."""

    key: UnitKey
    status: UnitStatus
    num_frames: int  # of the segment; 0 for plan and assemble
    progress_frames: int  # how far the present attempt is; all of them once done
    fallback_preset: str | None  # set once the wanted preset has proved too much
    result: Mapping[str, object] | None
    attempt: int
    lease_owner: str | None
    lease_expires_at: datetime | None
    errors: int
    lost_leases: int
    error_code: str | None
    error_message: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """The right to work on a unit, as long as heartbeats keep coming."""

    unit: UnitKey
    attempt: int  # whoever holds a lower number has lost the right to write
    worker: str
    num_frames: int  # of the segment; 0 for plan and assemble
    fallback_preset: str | None  # to be used instead of the wanted one
    encoding: Encoding


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One lease from beginning to end."""

    unit: UnitKey
    attempt: int
    worker: str
    leased_at: datetime
    ended_at: datetime | None
    outcome: Outcome | None  # None while it runs
    error_code: str | None
    error_message: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryEvent:
    """One row of an encoding's history; sequence numbers have no gaps."""

    encoding_id: str
    sequence: int
    event: Event
    at: datetime
    unit: UnitKey | None
    attempt: int | None
    detail: Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why an attempt failed, in words that are shown to users."""

    code: str
    message: str
    can_help: bool = True  # False when trying again cannot help
    too_much: bool = False  # True when it took more memory or time than there is


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchSubmission:
    """What a user asks for: every object below a prefix, encoded in one way."""

    owner_id: str
    source: str  # s3://bucket/prefix
    settings: Mapping[str, object]  # of every encoding, as in `Submission`
    include: str | None = None  # pattern of the names below the prefix's folder
    out: str | None = None  # s3://bucket/prefix: where copies of the streams go
    priority: int = 5
    labels: tuple[str, ...] = ()
    callback_url: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Objects on their way to streams, and how far the search for them is.

    Whoever searches holds a lease; ``attempt`` is its fencing number, as for units of work.
    """

    id: str
    owner_id: str
    source: str
    include: str | None
    out: str | None
    settings: Mapping[str, object]
    priority: int
    labels: tuple[str, ...]
    callback_url: str | None
    listing: ListingStatus
    cursor: str | None  # the last key that was looked at
    num_objects: int  # found by this listing so far; each is an encoding
    attempt: int
    errors: int
    lost_leases: int
    error_code: str | None
    error_message: str | None
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Callback:
    """News of an ended encoding on its way to whoever asked for it."""

    id: str  # the receiver tells repeats apart by it
    encoding_id: str
    owner_id: str
    url: str
    payload: Mapping[str, object]
    attempts: int  # this one included


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """How far such news is."""

    id: str
    status: CallbackStatus
    attempts: int
    last_error: str | None
    next_attempt_at: datetime | None  # while it is pending
    ended_at: datetime | None  # when it was delivered or given up
