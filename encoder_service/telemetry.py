"""Logs: one JSON object per line, bound to the encoding, segment and attempt being worked on.

Code logs through the standard library (``logging.getLogger(__name__)``), binds ids once where work
begins (``with bind(encoding_id=...)``), and passes numbers as fields, not inside the sentence:
``log.info("segment finished", extra=fields(seconds=2.1))``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TextIO

_NOTHING: Mapping[str, object] = MappingProxyType({})
_bound: ContextVar[Mapping[str, object]] = ContextVar("telemetry_bound", default=_NOTHING)


@contextmanager
def bind(**ids: object) -> Iterator[None]:
    """Add these ids to every log line of this thread or task until the block ends."""
    token = _bound.set({**_bound.get(), **ids})
    try:
        yield
    finally:
        _bound.reset(token)


def fields(**values: object) -> dict[str, object]:
    """Values for the ``extra`` argument of a log call."""
    return {"fields": values}


class JsonFormatter(logging.Formatter):
    """One line of JSON per record: time (UTC), level, logger, event, ids, fields, error."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its line feed."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_bound.get(),
            **getattr(record, "fields", _NOTHING),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure_logging(*, level: str, stream: TextIO) -> None:
    """Send every log line of this process to ``stream`` as JSON.

    Args:
        level: "debug", "info", "warning" or "error"; libraries stay at "warning" or above.
        stream: usually standard error; standard output belongs to results.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))
    for package in ("encoder_service", "workers", "hypernet"):
        logging.getLogger(package).setLevel(level.upper())
