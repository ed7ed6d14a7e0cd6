from __future__ import annotations

from encoder_service.jobs.records import Message, UnitKey
from encoder_service.jobs.states import UnitKind
from encoder_service.queue import InMemoryQueue


def key(name: str) -> UnitKey:
    return UnitKey(encoding_id=name, kind=UnitKind.PLAN)


def test_urgent_first_then_in_order() -> None:
    queue = InMemoryQueue()
    for name, priority in (("b", 5), ("a", 5), ("urgent", 0), ("late", 9)):
        queue.send(Message(unit=key(name), priority=priority))
    received = [queue.receive() for _ in range(5)]
    assert received == [key("urgent"), key("b"), key("a"), key("late"), None]
