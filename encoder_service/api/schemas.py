"""Requests and responses of ``/v1``. OpenAPI is generated from these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from encoder_service.jobs.progress import Progress
from encoder_service.jobs.records import Delivery, Encoding, HistoryEvent, Unit
from encoder_service.jobs.states import (
    CallbackStatus,
    EncodingStatus,
    Event,
    Phase,
    UnitKind,
    UnitStatus,
)
from hypernet.preset_names import DEFAULT_PRESET, PRESET_NAMES, unknown_preset


def _existing(preset: str) -> str:
    if preset not in PRESET_NAMES:
        raise ValueError(unknown_preset(preset))
    return preset


Preset = Annotated[
    str, AfterValidator(_existing), Field(json_schema_extra={"enum": list(PRESET_NAMES)})
]
Label = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00]+$")]
FINITE = ConfigDict(extra="forbid", allow_inf_nan=False)
# What OpenAPI says of a source. It is enforced by `storage.locations`, which tells a bucket that is
# not allowed (403) from nonsense (422).
SOURCE_PATTERN = r"^(upload:[A-Za-z0-9_]+|s3://[^/]+/[^/].*)$"
PREFIX_PATTERN = r"^s3://[^/]+(/.*)?$"
# PostgreSQL stores no NUL; nobody needs one.
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
SETTINGS = ("preset", "quality", "target_psnr_db", "steps", "budget_seconds", "seed")


class EncodingOptions(BaseModel):
    """How to encode; every field but the source is optional."""

    model_config = FINITE

    preset: Preset = DEFAULT_PRESET
    quality: int | None = Field(
        default=None, ge=1, le=100, description="rate and quality rise together; 50 unless named"
    )
    target_psnr_db: float | None = Field(default=None, gt=0, le=200, examples=[32.0])
    steps: int | None = Field(
        default=None, ge=1, le=10_000_000, description="gradient steps per segment, at most"
    )
    budget_seconds: float | None = Field(default=None, gt=0, le=10_000_000)
    seed: int = Field(default=0, ge=0, lt=2**31)
    priority: int = Field(default=5, ge=0, le=9, description="0 is served first")
    labels: list[Label] = Field(default=[], max_length=20, examples=[["demo"]])
    callback_url: Text | None = Field(
        default=None,
        max_length=2000,
        description="where to POST the news once it has ended; signed, see `/v1/callbacks/secret`",
        examples=["https://example.com/encoded"],
        json_schema_extra={"format": "uri"},
    )

    def settings(self) -> dict[str, Any]:
        """What the codec is told."""
        return self.model_dump(include=set(SETTINGS))


class NewEncoding(EncodingOptions):
    """A submission."""

    source: Text = Field(
        min_length=1,
        max_length=2000,
        description="`upload:ID` or `s3://bucket/key`",
        examples=["s3://films/clip.mp4"],
        json_schema_extra={"pattern": SOURCE_PATTERN},
    )


class NewBatch(EncodingOptions):
    """Every object below a prefix, encoded in one way."""

    source: Text = Field(
        min_length=1,
        max_length=1000,
        description="`s3://bucket/prefix`",
        examples=["s3://films/2026/"],
        json_schema_extra={"pattern": PREFIX_PATTERN},
    )
    include: Text | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="only objects whose name below the folder matches; `*` matches `/`, too",
        examples=["*.mp4"],
    )
    out: Text | None = Field(
        default=None,
        min_length=1,
        max_length=500,
        description="`s3://bucket/prefix` for copies of the streams: `NAME.mp4` gives "
        "`NAME.mp4.nrv`",
        examples=["s3://streams/2026"],
        json_schema_extra={"pattern": PREFIX_PATTERN},
    )


class ProgressView(BaseModel):
    """Frames that are encoded and verified."""

    frames_done: int = Field(examples=[128])
    frames_total: int | None = Field(description="null until planned", examples=[300])
    eta_seconds: float | None = Field(description="null until it can be told", examples=[41.5])


class SegmentView(BaseModel):
    """One segment."""

    index: int
    status: UnitStatus
    frames: int
    frames_so_far: int = Field(description="of the present attempt, not yet verified")
    attempts: int
    fallback_preset: str | None
    stored_bytes: int | None
    metrics: dict[str, Any] | None
    error_code: str | None


class EncodingView(BaseModel):
    """An encoding, as in lists."""

    id: str = Field(examples=["enc_01kagr7y3v"])
    status: EncodingStatus
    phase: Phase | None
    source: str = Field(examples=["s3://films/clip.mp4"])
    settings: dict[str, Any]
    priority: int
    labels: list[str]
    batch_id: str | None
    destination: str | None = Field(description="where a copy of the stream is at success")
    callback_url: str | None
    retries: int
    cancel_requested: bool
    result: dict[str, Any] | None = Field(description="what `nrv encode --json` prints")
    error_code: str | None
    error_message: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    links: dict[str, str] = Field(description="`frames` is a URI template (RFC 6570)")

    @classmethod
    def of(cls, encoding: Encoding) -> EncodingView:
        """The view of a record."""
        return cls(**_shared(encoding))


class DeliveryView(BaseModel):
    """How far the news of an ended encoding is on its way to `callback_url`."""

    id: str = Field(description="of the callback", examples=["cbk_01kagr7y3v"])
    status: CallbackStatus
    attempts: int
    last_error: str | None
    next_attempt_at: datetime | None
    ended_at: datetime | None = Field(description="when it was delivered, or given up")


class EncodingDetail(EncodingView):
    """An encoding with its progress, its segments and its callbacks."""

    progress: ProgressView
    segments: list[SegmentView]
    callbacks: list[DeliveryView] = Field(description="one for each time it has ended")

    @classmethod
    def with_units(
        cls,
        encoding: Encoding,
        units: Sequence[Unit],
        progress: Progress,
        deliveries: Sequence[Delivery],
    ) -> EncodingDetail:
        """The view of a record, its units and its callbacks."""
        segments = [_segment(unit) for unit in units if unit.key.kind is UnitKind.SEGMENT]
        view = ProgressView(
            frames_done=progress.frames_done,
            frames_total=progress.frames_total,
            eta_seconds=progress.eta_seconds,
        )
        told = [DeliveryView(**asdict(each)) for each in deliveries]
        return cls(**_shared(encoding), progress=view, segments=segments, callbacks=told)


class EncodingPage(BaseModel):
    """One page of a list, newest first."""

    items: list[EncodingView]
    next_cursor: str | None = Field(description="pass as `cursor`; null on the last page")


class EventView(BaseModel):
    """One row of an encoding's history; the data of a server-sent event."""

    sequence: int
    event: Event
    at: datetime
    unit: UnitKind | None
    index: int | None
    attempt: int | None
    detail: dict[str, Any]

    @classmethod
    def of(cls, event: HistoryEvent) -> EventView:
        """The view of a record."""
        return cls(
            sequence=event.sequence,
            event=event.event,
            at=event.at,
            unit=None if event.unit is None else event.unit.kind,
            index=None if event.unit is None else event.unit.index,
            attempt=event.attempt,
            detail=dict(event.detail),
        )


class NewUpload(BaseModel):
    """Announces a source that will be sent in parts."""

    model_config = FINITE

    size_bytes: int = Field(gt=0, le=2**50, examples=[734003200])


class PartLink(BaseModel):
    """Where to PUT one part."""

    number: int = Field(ge=1)
    size_bytes: int
    url: str


class UploadView(BaseModel):
    """An upload, and the parts that are still missing."""

    id: str
    source: str = Field(description="what to submit once it is complete")
    size_bytes: int
    part_bytes: int
    complete: bool
    stored_parts: list[int]
    missing_parts: list[PartLink] = Field(description="at most 100; ask again for more")
    expires_seconds: int = Field(description="how long the links are valid")


def _shared(encoding: Encoding) -> dict[str, Any]:
    base = f"/v1/encodings/{encoding.id}"
    links = {"self": base, "events": f"{base}/events"}
    if encoding.status is EncodingStatus.SUCCEEDED:
        links |= {
            "stream": f"{base}/stream",
            "frames": f"{base}/frames/{{number}}.{{format}}{{?width}}",
            "preview": f"{base}/preview.mp4",
        }
    return {
        "id": encoding.id,
        "status": encoding.status,
        "phase": encoding.phase,
        "source": encoding.source,
        "settings": dict(encoding.settings),
        "priority": encoding.priority,
        "labels": list(encoding.labels),
        "batch_id": encoding.batch_id,
        "destination": encoding.destination,
        "callback_url": encoding.callback_url,
        "retries": encoding.retries,
        "cancel_requested": encoding.cancel_requested_at is not None,
        "result": None if encoding.result is None else dict(encoding.result),
        "error_code": encoding.error_code,
        "error_message": encoding.error_message,
        "created_at": encoding.created_at,
        "started_at": encoding.started_at,
        "finished_at": encoding.finished_at,
        "links": links,
    }


def _segment(unit: Unit) -> SegmentView:
    result: dict[str, Any] = dict(unit.result or {})
    return SegmentView(
        index=unit.key.index,
        status=unit.status,
        frames=unit.num_frames,
        frames_so_far=unit.progress_frames,
        attempts=unit.attempt,
        fallback_preset=unit.fallback_preset,
        stored_bytes=result.get("bytes"),
        metrics=result.get("metrics"),
        error_code=unit.error_code,
    )
