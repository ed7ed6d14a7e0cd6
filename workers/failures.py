"""What an exception during an attempt means for the unit of work."""

from __future__ import annotations

import re
from pathlib import Path

from billiard.exceptions import SoftTimeLimitExceeded

from encoder_service.errors import (
    AccessDenied,
    InvalidRequest,
    ServiceError,
    SourceChanged,
    StorageError,
)
from encoder_service.jobs.records import Failure
from encoder_service.settings import JobSettings
from hypernet.errors import (
    Cancelled,
    EncodeFailed,
    HypernetError,
    InvalidSettings,
    UnreadableInput,
)

# Trying again gives the same answer: somebody must change something first.
HOPELESS = (
    UnreadableInput,
    InvalidSettings,
    InvalidRequest,
    AccessDenied,
    SourceChanged,
)
MAX_MESSAGE = 500


class OutOfMemory(EncodeFailed):
    """The unit needs more memory than this machine or its GPU has left."""

    code = "encode.out_of_memory"


class OutOfTime(EncodeFailed):
    """The unit takes longer than NRV_WORKER_TASK_SECONDS."""

    code = "encode.out_of_time"


def is_no_fault(error: Exception) -> bool:
    """Whether an attempt ended for a reason that is not counted against its unit."""
    return isinstance(error, Cancelled) or (isinstance(error, ServiceError) and error.retryable)


def to_failure(error: Exception, *, scratch: Path | None = None) -> Failure:
    """The reason in words that users see.

    Foreign exceptions are named but not quoted at length. Files in the folder ``scratch`` are
    called what they are to the user: where they lie on our disk is none of anybody's business.
    """
    error = _named(error)
    if isinstance(error, HypernetError | ServiceError):
        code, message = error.code, str(error)
    else:
        code, message = "internal", f"{type(error).__name__}: {error}"
    if scratch is not None:
        message = _without_paths(message, scratch)
    can_help = not isinstance(error, HOPELESS) and not _will_stay(error)
    return Failure(
        code=code,
        message=message[:MAX_MESSAGE],
        can_help=can_help,
        too_much=isinstance(error, OutOfMemory | OutOfTime),
    )


def _named(error: Exception) -> Exception:
    """What Python and Celery call otherwise."""
    if isinstance(error, MemoryError):
        return OutOfMemory("this machine has not enough memory for the preset at this frame size")
    if isinstance(error, SoftTimeLimitExceeded):
        return OutOfTime("it took longer than a worker may spend; see NRV_WORKER_TASK_SECONDS")
    return error


def pause_seconds(error: Exception, settings: JobSettings) -> float:
    """How long to wait before the unit is tried again by anybody."""
    return 0.0 if isinstance(error, Cancelled) else settings.outage_seconds


def _without_paths(message: str, scratch: Path) -> str:
    names = {str(scratch.resolve()), str(scratch.absolute()), str(scratch)} - {".", "/"}
    for name in sorted(names, key=len, reverse=True):
        message = re.sub(
            re.escape(name) + r"""(?:/[^\s'":;,()]*[^\s'":;,().])?""",
            lambda found: "the source" if found[0].endswith("/source") else "a temporary file",
            message,
        )
    return message


def _will_stay(error: Exception) -> bool:
    """A store that answers with a refusal will refuse again."""
    return isinstance(error, StorageError) and not error.retryable and error.code != "storage.full"
