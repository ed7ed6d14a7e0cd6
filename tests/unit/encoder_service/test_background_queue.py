from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping

import pytest

from encoder_service import background_queue
from encoder_service.background_queue import BackgroundQueue
from encoder_service.errors import QueueUnavailable
from encoder_service.jobs.records import Message, UnitKey
from encoder_service.jobs.states import UnitKind
from encoder_service.jobs.submissions import plan_of


class SlowQueue:
    """Sends when it is allowed to; refuses what it is told to."""

    def __init__(self) -> None:
        self.allowed = threading.Event()
        self.sent: list[UnitKey | str] = []
        self.failures: dict[str, Exception] = {}

    def send(self, message: Message) -> None:
        self.allowed.wait(10)
        if (error := self.failures.get(message.unit.encoding_id)) is not None:
            raise error
        self.sent.append(message.unit)

    def send_listing(self, batch_id: str, *, priority: int) -> None:  # noqa: ARG002
        self.allowed.wait(10)
        self.sent.append(batch_id)

    def depths(self) -> Mapping[frozenset[UnitKind], int]:
        return {frozenset(UnitKind): len(self.sent)}


def message(encoding_id: str) -> Message:
    return Message(unit=plan_of(encoding_id), priority=5)


def test_nobody_waits_for_the_broker_and_the_order_is_kept() -> None:
    broker = SlowQueue()
    queue = BackgroundQueue(broker)
    queue.send(message("enc_1"))
    queue.send_listing("bat_1", priority=5)
    queue.send(message("enc_2"))
    assert broker.sent == []
    broker.allowed.set()
    queue.join()
    assert broker.sent == [plan_of("enc_1"), "bat_1", plan_of("enc_2")]
    assert queue.depths() == {frozenset(UnitKind): 3}


@pytest.mark.parametrize("error", [QueueUnavailable("it does not answer"), RuntimeError("a bug")])
def test_a_message_that_is_refused_is_told_of_and_the_next_is_sent(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    broker = SlowQueue()
    broker.failures["enc_1"] = error
    broker.allowed.set()
    queue = BackgroundQueue(broker)
    with caplog.at_level(logging.WARNING):
        queue.send(message("enc_1"))
        queue.send(message("enc_2"))
        queue.join()
    assert broker.sent == [plan_of("enc_2")]
    assert [record.message for record in caplog.records] == ["message not sent"]


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_queue, "MAX_WAITING", 2)
    broker = SlowQueue()
    queue = BackgroundQueue(broker)
    sent = [message(f"enc_{number}") for number in range(4)]  # one of them is being sent
    with pytest.raises(QueueUnavailable, match="2 messages wait"):
        deque(map(queue.send, sent), maxlen=0)
    broker.allowed.set()
    queue.join()
