"""Where and how this installation runs, from environment variables only.

A setting ``field`` of a group ``group`` is the variable ``NRV_GROUP_FIELD`` (``NRV_DATABASE_URL``).
What to encode like is not here: that is part of a request and of its result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, get_type_hints
from urllib.parse import urlsplit

from encoder_service.errors import InvalidConfiguration

Group = TypeVar("Group")

DEVELOPMENT = "development"
LOG_LEVELS = ("debug", "info", "warning", "error")
DEVELOPMENT_SECRET = "for-development-only"  # noqa: S105 - refused everywhere else
WELL_KNOWN_SECRETS = frozenset(
    {DEVELOPMENT_SECRET, "admin", "changeme", "minioadmin", "nrv", "password", "postgres", "secret"}
)


def _setting(default: Any, meaning: str, *, secret: bool = False) -> Any:
    return field(default=default, metadata={"meaning": meaning, "secret": secret})


@dataclass(frozen=True, kw_only=True, slots=True)
class DatabaseSettings:
    """The database that holds the truth."""

    url: str = _setting(
        "sqlite:///nrv-data/nrv.sqlite3",
        "SQLAlchemy URL: postgresql+psycopg://user:password@host/name, or sqlite:///file",
    )
    pool_size: int = _setting(8, "connections kept open by each process (PostgreSQL)")
    busy_seconds: float = _setting(10.0, "longest wait for a lock before a statement is refused")


@dataclass(frozen=True, kw_only=True, slots=True)
class StorageSettings:
    """The object store for sources, segments and streams."""

    url: str = _setting("folder:nrv-data/objects", "folder:PATH, or s3://bucket/prefix")
    endpoint: str = _setting("", "URL of an S3-compatible server; empty for the provider's own")
    public_endpoint: str = _setting("", "the same server as clients reach it; links name it")
    region: str = _setting("us-east-1", "region that signatures name")
    access_key: str = _setting("", "S3 access key; empty to use the machine's own credentials")
    secret_key: str = _setting("", "S3 secret key", secret=True)
    source_buckets: tuple[str, ...] = _setting(
        (), "buckets that s3:// sources and destinations may name, separated by commas"
    )
    link_secret: str = _setting(
        DEVELOPMENT_SECRET,
        "key that signs links to objects in a folder, and callbacks",
        secret=True,
    )
    link_seconds: int = _setting(3600, "how long a link to an object is valid")


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueSettings:
    """The broker that wakes workers up; it may lose everything without harm."""

    url: str = _setting("redis://127.0.0.1:6379/0", "Celery broker URL")
    visibility_seconds: int = _setting(
        6 * 3600, "when Redis delivers again what was not acknowledged; 3 times the longest task"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiSettings:
    """What the API takes and how it answers."""

    url: str = _setting("http://127.0.0.1:8000", "where clients reach the API; part of its links")
    requests_per_second: float = _setting(
        200.0, "requests that one key may make in the long run, per API process; 0 for any number"
    )
    request_burst: int = _setting(400, "requests that one key may make at once")
    max_upload_bytes: int = _setting(4 * 2**30, "largest source, in bytes")
    max_body_bytes: int = _setting(2**20, "largest request other than an upload, in bytes")
    part_bytes: int = _setting(16 * 2**20, "size of the parts of a large upload, in bytes")
    max_page: int = _setting(200, "most encodings in one page of a list")
    events_seconds: float = _setting(0.5, "pause between two looks for new events")


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameSettings:
    """Pictures of single frames, made in child processes of each API process."""

    children: int = _setting(1, "frames decoded at the same time; each process takes up to 1 GB")
    seconds: float = _setting(30.0, "longest that one frame may take")
    wait_seconds: float = _setting(10.0, "longest that a request waits for a process to be free")
    memory_bytes: int = _setting(4 * 2**30, "memory that one process may have; 0 for any")


@dataclass(frozen=True, kw_only=True, slots=True)
class JobSettings:
    """Leases and attempts. A worker that died is noticed after ``lease_seconds`` at the latest."""

    lease_seconds: float = _setting(15.0, "how long a unit of work stays leased without heartbeat")
    heartbeat_seconds: float = _setting(4.0, "pause between two heartbeats of a worker")
    sweep_seconds: float = _setting(5.0, "pause between two sweeps for expired leases")
    resend_seconds: float = _setting(20.0, "age at which a message nobody acted on is sent again")
    max_errors: int = _setting(3, "errors of a unit before its encoding falls back or fails")
    max_lost_leases: int = _setting(5, "workers lost over one unit before its encoding fails")
    retry_seconds: float = _setting(2.0, "pause after the first error of a unit; doubles each time")
    max_retry_seconds: float = _setting(60.0, "longest pause between two attempts")
    outage_seconds: float = _setting(5.0, "pause while the store or database is out of reach")
    fallback_preset: str = _setting(
        "", "cheaper preset to start over with when a segment takes too much memory or time"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class CallbackSettings:
    """Telling users' servers how encodings ended; signed with NRV_STORAGE_LINK_SECRET."""

    allowed_networks: tuple[str, ...] = _setting(
        (), "private networks that callbacks may reach all the same (10.1.0.0/16), or none"
    )
    timeout_seconds: float = _setting(10.0, "longest that one receiver may take to answer")
    hold_seconds: float = _setting(60.0, "when a callback is sent again whose sender died")
    retry_seconds: float = _setting(5.0, "pause after the first attempt in vain; doubles each time")
    max_retry_seconds: float = _setting(3600.0, "longest pause between two attempts")
    max_attempts: int = _setting(24, "attempts after which a receiver is given up; about 15 hours")
    poll_seconds: float = _setting(1.0, "pause between two looks for callbacks to send")


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSettings:
    """One worker process."""

    scratch: str = _setting("nrv-data/scratch", "folder for sources and segments being worked on")
    scratch_bytes: int = _setting(20 * 2**30, "sources kept in the scratch folder, in bytes")
    task_seconds: int = _setting(2 * 3600, "longest that one unit of work may take")
    tasks_per_child: int = _setting(200, "units after which a worker process is replaced")
    source_frames: int = _setting(1_000_000, "longest source, in frames")
    source_segments: int = _setting(50_000, "most segments of a source: units of work")
    reading_bytes: int = _setting(
        4 * 2**30, "memory for reading a source, beyond what the program that reads takes"
    )
    reading_cpu_seconds: int = _setting(
        4 * 3600, "processor time for reading a source once, all threads together"
    )
    reading_silent_seconds: float = _setting(
        60.0, "longest wait for the next frame of a source, after which it is given up"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class RetentionSettings:
    """What `nrv gc` removes; 0 keeps for ever. Nothing is removed before its encoding has ended."""

    source_days: float = _setting(7.0, "uploads that no encoding has needed for so long")
    segment_days: float = _setting(1.0, "segments of succeeded encodings; the stream stays")
    failed_days: float = _setting(30.0, "failed and cancelled encodings with all they left")
    stream_days: float = _setting(0.0, "succeeded encodings with their streams")
    picture_days: float = _setting(7.0, "pictures of frames; they are made again when asked for")
    orphan_days: float = _setting(1.0, "objects that no row of the database knows")


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything the environment decides."""

    environment: str = DEVELOPMENT
    log_level: str = "info"
    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    storage: StorageSettings = field(default_factory=StorageSettings)
    queue: QueueSettings = field(default_factory=QueueSettings)
    api: ApiSettings = field(default_factory=ApiSettings)
    frames: FrameSettings = field(default_factory=FrameSettings)
    jobs: JobSettings = field(default_factory=JobSettings)
    callbacks: CallbackSettings = field(default_factory=CallbackSettings)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)

    def __post_init__(self) -> None:
        if self.environment != DEVELOPMENT:
            self._refuse_well_known_secrets()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Read ``NRV_*`` variables.

        Raises:
            InvalidConfiguration: a variable is unknown, cannot be parsed, or is an unsafe default.
        """
        unknown = {name for name in environ if name.startswith("NRV_")} - _known_variables()
        if unknown:
            raise InvalidConfiguration(f"unknown settings: {', '.join(sorted(unknown))}")
        level = environ.get("NRV_LOG_LEVEL", "info")
        if level not in LOG_LEVELS:
            raise InvalidConfiguration(f"NRV_LOG_LEVEL={level!r} is none of {LOG_LEVELS}")
        return cls(
            environment=environ.get("NRV_ENVIRONMENT", DEVELOPMENT),
            log_level=level,
            **{name: _read(group, name, environ) for name, group in GROUPS.items()},
        )

    def to_environment(self) -> dict[str, str]:
        """The variables that `from_environment` reads these settings from."""
        variables = {"NRV_ENVIRONMENT": self.environment, "NRV_LOG_LEVEL": self.log_level}
        for variable, value, _ in self._values():
            variables[variable] = ",".join(value) if isinstance(value, tuple) else str(value)
        return variables

    def _refuse_well_known_secrets(self) -> None:
        for variable, value, secret in self._values():
            password = value if secret else urlsplit(str(value)).password
            if password in WELL_KNOWN_SECRETS:
                raise InvalidConfiguration(
                    f"{variable} is a default that everybody knows; set a secret of your own "
                    f"(NRV_ENVIRONMENT is {self.environment!r})"
                )

    def _values(self) -> Iterator[tuple[str, object, bool]]:
        for name in GROUPS:
            group = getattr(self, name)
            for each in fields(group):
                yield _variable(name, each.name), getattr(group, each.name), each.metadata["secret"]


GROUPS: Mapping[str, type] = {
    "database": DatabaseSettings,
    "storage": StorageSettings,
    "queue": QueueSettings,
    "api": ApiSettings,
    "frames": FrameSettings,
    "jobs": JobSettings,
    "callbacks": CallbackSettings,
    "worker": WorkerSettings,
    "retention": RetentionSettings,
}


def describe() -> Iterator[tuple[str, str, str]]:
    """Every variable of the groups with its default and its meaning, for documentation and help."""
    for name, group in GROUPS.items():
        for each in fields(group):
            default = ",".join(each.default) if isinstance(each.default, tuple) else each.default
            yield _variable(name, each.name), str(default), each.metadata["meaning"]


def _variable(group: str, name: str) -> str:
    return f"NRV_{group}_{name}".upper()


def _known_variables() -> set[str]:
    # The remote commands read the first two, the codec the third; they are no settings of a server.
    others = {"NRV_URL", "NRV_API_KEY", "NRV_MODELS"}
    return {"NRV_ENVIRONMENT", "NRV_LOG_LEVEL", *others, *(name for name, _, _ in describe())}


def _read(group: type[Group], name: str, environ: Mapping[str, str]) -> Group:
    types = get_type_hints(group)
    texts = {each: environ.get(_variable(name, each)) for each in types}
    return group(
        **{
            each: _parse(_variable(name, each), text, types[each])
            for each, text in texts.items()
            if text is not None
        }
    )


def _parse(variable: str, text: str, wanted: type) -> object:
    if wanted == tuple[str, ...]:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        value = wanted(text)
    except ValueError:
        raise InvalidConfiguration(f"{variable}={text!r} is not {wanted.__name__}") from None
    if isinstance(value, int | float) and not 0 <= value < math.inf:
        raise InvalidConfiguration(f"{variable}={text} must be finite and not negative")
    return value
