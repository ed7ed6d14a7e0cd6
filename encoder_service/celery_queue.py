"""Messages through Celery. Tasks are sent by name: this process need not have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from celery import Celery
from kombu.exceptions import ChannelError, OperationalError

from encoder_service.errors import QueueUnavailable
from encoder_service.jobs.records import Message
from encoder_service.jobs.states import UnitKind
from encoder_service.settings import QueueSettings

CPU, GPU = "cpu", "gpu"
TASKS = {
    UnitKind.PLAN: ("workers.plan", CPU),
    UnitKind.SEGMENT: ("workers.encode_segment", GPU),
    UnitKind.ASSEMBLE: ("workers.assemble", CPU),
}
LISTING_TASK = ("workers.list_batch", CPU)


def transport_options(settings: QueueSettings) -> dict[str, Any]:
    """What both ends of the broker must agree on, or fail quickly over."""
    return {
        # Ten levels, 0 served first, in one queue each; Celery's default has four.
        "priority_steps": list(range(10)),
        "queue_order_strategy": "priority",
        # Redis delivers a message again when it was not acknowledged for so long, even while its
        # task runs. Dead workers are noticed through their leases, so this can be very long.
        "visibility_timeout": settings.visibility_seconds,
        # A request must not wait for a broker that is gone.
        "socket_connect_timeout": 2,
        "socket_timeout": 10,
        "max_retries": 0,
    }


class CeleryQueue:
    """A `JobQueue`."""

    def __init__(self, settings: QueueSettings) -> None:
        self._celery = Celery("nrv", broker=settings.url, set_as_current=False)
        self._celery.conf.update(
            broker_transport_options=transport_options(settings),
            task_serializer="json",
            task_send_sent_event=True,  # so that Flower shows what waits
            broker_connection_retry=False,
        )

    def send(self, message: Message) -> None:
        """See `JobQueue.send`."""
        name, queue = TASKS[message.unit.kind]
        arguments: dict[str, object] = {"encoding_id": message.unit.encoding_id}
        if message.unit.kind is UnitKind.SEGMENT:
            arguments["segment"] = message.unit.index
        arguments["attempt"] = message.attempt
        self._send(name, arguments, queue, message.priority)

    def send_listing(self, batch_id: str, *, priority: int) -> None:
        """See `JobQueue.send_listing`."""
        name, queue = LISTING_TASK
        self._send(name, {"batch_id": batch_id}, queue, priority)

    def depths(self) -> Mapping[frozenset[UnitKind], int]:
        """See `JobQueue.depths`; what workers have taken and not acknowledged is not counted."""
        kinds_of = {
            queue: frozenset(kind for kind, (_, name) in TASKS.items() if name == queue)
            for queue in (CPU, GPU)
        }
        with _broker_errors_translated(), self._celery.pool.acquire(block=True) as connection:
            try:
                return {kinds: _depth(connection, queue) for queue, kinds in kinds_of.items()}
            except (*connection.connection_errors, *connection.channel_errors) as error:
                # Those of the client below, for a connection that was good once.
                raise QueueUnavailable(f"the broker does not answer: {error}") from error

    def _send(self, name: str, arguments: dict[str, object], queue: str, priority: int) -> None:
        with _broker_errors_translated():
            self._celery.send_task(
                name,
                kwargs=arguments,  # by name: Flower and `celery inspect` show them
                queue=queue,
                priority=priority,
                retry=False,
                ignore_result=True,
            )

    def close(self) -> None:
        """Close the connections to the broker."""
        self._celery.close()


@contextmanager
def _broker_errors_translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, OSError) as error:
        raise QueueUnavailable(f"the broker does not answer: {error}") from error


def _depth(connection: Any, queue: str) -> int:
    channel = connection.default_channel
    try:
        return int(channel.queue_declare(queue=queue, passive=True).message_count)
    except ChannelError:
        return 0  # nothing was ever sent to it
