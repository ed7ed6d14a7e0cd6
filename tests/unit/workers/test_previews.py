from __future__ import annotations

from dataclasses import replace

import pytest

from encoder_service.jobs.records import HistoryEvent
from encoder_service.jobs.states import EncodingStatus, Event
from encoder_service.storage.base import preview_key
from hypernet.errors import EncodeFailed
from tests.factories import Service


def last_event(service: Service, encoding_id: str) -> HistoryEvent:
    return service.queries.events(service.jobs.owner_id, encoding_id)[-1]


def test_a_preview_lies_beside_the_stream(service: Service) -> None:
    encoding = service.finish(service.submit(8))
    assert encoding.stream_key is not None
    stored = service.locations.own.read(preview_key(encoding.stream_key))
    assert stored == b"preview of " + service.stream(encoding)[:8]
    assert last_event(service, encoding.id).event is Event.PREVIEWED


@pytest.mark.parametrize("error", [EncodeFailed("no pictures"), ZeroDivisionError("a bug")])
def test_a_failed_preview_fails_nothing_else(service: Service, error: Exception) -> None:
    def fail() -> None:
        raise error

    service.during_preview = fail
    encoding = service.finish(service.submit(8))
    assert encoding.status is EncodingStatus.SUCCEEDED
    last = last_event(service, encoding.id)
    assert last.event is Event.PREVIEW_FAILED
    assert str(error) in str(last.detail["message"])


def test_nobody_waits_for_a_preview(service: Service) -> None:
    seen = []
    encoding_id = service.submit(8)
    service.during_preview = lambda: seen.append(service.encoding(encoding_id).status)
    service.finish(encoding_id)
    assert seen == [EncodingStatus.SUCCEEDED]


def test_a_worker_that_stops_makes_no_preview(service: Service) -> None:
    stopping = replace(service.pipeline().previews, should_stop=lambda: True)
    encoding = service.finish(service.submit(8), previews=stopping)
    assert encoding.status is EncodingStatus.SUCCEEDED
    assert last_event(service, encoding.id).detail["code"] == "cancelled"
