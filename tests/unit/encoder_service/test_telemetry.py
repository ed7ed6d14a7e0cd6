from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from encoder_service.telemetry import bind, configure_logging, fields


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging(level="info", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_holds_event_ids_and_fields(stream: io.StringIO) -> None:
    log = logging.getLogger("workers.pipeline")
    with bind(encoding_id="enc_1"), bind(segment=3, attempt=2):
        log.info("segment finished", extra=fields(seconds=1.5))
    (line,) = lines(stream)
    assert line.pop("time")
    assert line == {
        "level": "info",
        "logger": "workers.pipeline",
        "event": "segment finished",
        "encoding_id": "enc_1",
        "segment": 3,
        "attempt": 2,
        "seconds": 1.5,
    }


def test_ids_end_with_their_block(stream: io.StringIO) -> None:
    log = logging.getLogger("workers.pipeline")
    with bind(encoding_id="enc_1"):
        pass
    log.info("idle")
    assert "encoding_id" not in lines(stream)[0]


def test_an_error_keeps_its_traceback_on_one_line(stream: io.StringIO) -> None:
    try:
        raise ValueError("bad\nnews")
    except ValueError:
        logging.getLogger("workers").exception("attempt failed")
    (line,) = lines(stream)
    assert "ValueError: bad\nnews" in str(line["error"])


def test_libraries_speak_up_only_to_warn(stream: io.StringIO) -> None:
    logging.getLogger("botocore").info("chatter")
    logging.getLogger("botocore").warning("trouble")
    assert [line["event"] for line in lines(stream)] == ["trouble"]
