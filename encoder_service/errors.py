"""Errors of the service: one tree, each class with a stable code.

ServiceError
|-- InvalidConfiguration    configuration.invalid
|-- InvalidRequest          request.invalid
|-- TooLarge                request.too_large
|-- Unauthenticated         access.unauthenticated
|-- AccessDenied            access.denied
|-- RateLimited             request.rate_limited    retryable
|-- NotFound                not_found
|-- Conflict
|   |-- IllegalTransition   state.illegal
|   |-- IdempotencyMismatch idempotency.mismatch
|   `-- SourceChanged       source.changed
|-- LeaseLost               lease.lost
|-- DatabaseUnavailable     database.unavailable    retryable
|-- QueueUnavailable        queue.unavailable       retryable
|-- ServiceRefused          service.refused
|-- ServiceUnreachable      service.unreachable     retryable
|-- RemoteEncodingFailed    service.encoding_failed
|-- FrameFailed             frame.failed
|-- FrameTimedOut           frame.timeout
|-- RendererLost            frame.renderer_lost     retryable
|-- RenderersBusy           frame.busy              retryable
`-- StorageError
    |-- StorageUnavailable  storage.unavailable     retryable
    |-- StorageFull         storage.full
    |-- StorageDenied       storage.denied
    |-- InvalidKey          storage.invalid_key
    |-- ObjectMissing       storage.missing
    |-- ObjectExists        storage.exists
    `-- DamagedDecodeFile   storage.damaged

The code is part of the interface (HTTP problem documents, exit status, the ``error_code`` of an
encoding). ``retryable`` says that the same call may succeed later without anybody changing
anything: workers then wait and try again without counting it as an attempt that failed.
"""

from __future__ import annotations


class ServiceError(Exception):
    """Something the service refuses or cannot do now."""

    code = "error"
    retryable = False


class InvalidConfiguration(ServiceError):
    """A setting of the environment is missing, unusable or unsafe."""

    code = "configuration.invalid"


class InvalidRequest(ServiceError):
    """The request cannot be understood or asks for something that does not exist."""

    code = "request.invalid"


class TooLarge(ServiceError):
    """The upload or request exceeds a stated limit."""

    code = "request.too_large"


class Unauthenticated(ServiceError):
    """The API key is missing, unknown or revoked."""

    code = "access.unauthenticated"


class AccessDenied(ServiceError):
    """The source or destination lies outside what this service may touch."""

    code = "access.denied"


class RateLimited(ServiceError):
    """This API key has sent more requests than it may; wait as long as Retry-After says."""

    code = "request.rate_limited"
    retryable = True

    def __init__(self, message: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class NotFound(ServiceError):
    """There is no such thing, or it belongs to another API key."""

    code = "not_found"


class Conflict(ServiceError):
    """The request contradicts the present state."""

    code = "conflict"


class IllegalTransition(Conflict):
    """The state machine has no such step from the present state."""

    code = "state.illegal"


class IdempotencyMismatch(Conflict):
    """The idempotency key was used before with a different request."""

    code = "idempotency.mismatch"


class SourceChanged(Conflict):
    """The source was replaced while it was being encoded."""

    code = "source.changed"


class LeaseLost(ServiceError):
    """The unit of work belongs to a later attempt, or to nobody; this attempt may not write."""

    code = "lease.lost"


class DatabaseUnavailable(ServiceError):
    """The database does not answer."""

    code = "database.unavailable"
    retryable = True


class QueueUnavailable(ServiceError):
    """The broker does not answer; the work is stored and will be sent again."""

    code = "queue.unavailable"
    retryable = True


class ServiceRefused(ServiceError):
    """A service that we asked as its client said no."""

    code = "service.refused"


class ServiceUnreachable(ServiceError):
    """A service that we asked as its client does not answer."""

    code = "service.unreachable"
    retryable = True


class RemoteEncodingFailed(ServiceError):
    """An encoding, or a part of a batch, that a client waited for failed or was cancelled."""

    code = "service.encoding_failed"


class FrameFailed(ServiceError):
    """A frame of a stored stream cannot be decoded here; ``reason`` is the codec's own code."""

    code = "frame.failed"

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class FrameTimedOut(ServiceError):
    """A frame takes longer to decode than a request may."""

    code = "frame.timeout"


class RendererLost(ServiceError):
    """The process that was decoding a frame died; another one takes its place."""

    code = "frame.renderer_lost"
    retryable = True


class RenderersBusy(ServiceError):
    """More frames are asked for than can be decoded at the same time."""

    code = "frame.busy"
    retryable = True


class StorageError(ServiceError):
    """The object store refused."""

    code = "storage.error"


class StorageUnavailable(StorageError):
    """The object store does not answer, or asks to slow down."""

    code = "storage.unavailable"
    retryable = True


class StorageFull(StorageError):
    """The object store has no space left."""

    code = "storage.full"


class StorageDenied(StorageError):
    """The credentials are wrong, expired or not allowed to do this."""

    code = "storage.denied"


class InvalidKey(StorageError):
    """The object key is empty, too long, or would leave the store."""

    code = "storage.invalid_key"


class ObjectMissing(StorageError):
    """There is no such object or bucket."""

    code = "storage.missing"


class ObjectExists(StorageError):
    """An object with this key exists and was asked not to be replaced."""

    code = "storage.exists"
