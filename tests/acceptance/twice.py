"""Runs a program of the service with a queue that delivers every message twice.

``python -m tests.acceptance.twice workers --queues cpu,gpu`` is ``python -m workers`` like that.
"""

from __future__ import annotations

import runpy
import sys

from encoder_service import celery_queue
from encoder_service.jobs.records import Message


class TwiceQueue(celery_queue.CeleryQueue):
    def send(self, message: Message) -> None:
        super().send(message)
        super().send(message)


if __name__ == "__main__":
    celery_queue.CeleryQueue = TwiceQueue  # type: ignore[misc]
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
