"""How many requests one API key may make: a token bucket for each, in this process."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from encoder_service.errors import RateLimited
from encoder_service.settings import ApiSettings


class RateLimiter:
    """A bucket per key holds ``request_burst`` tokens, and ``requests_per_second`` flow into it.

    Args:
        settings: rate and size; a rate of 0 limits nothing.
        clock: seconds that never go back.
    """

    def __init__(
        self, settings: ApiSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = settings.requests_per_second
        self._size = float(max(1, settings.request_burst))
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # by key: tokens, and when
        self._lock = threading.Lock()

    def take(self, key_id: str) -> None:
        """Let one request of a key pass.

        Raises:
            RateLimited: not yet; the error says when.
        """
        if self._rate <= 0:
            return
        with self._lock:
            now = self._clock()
            tokens, since = self._buckets.get(key_id, (self._size, now))
            tokens = min(self._size, tokens + (now - since) * self._rate)
            enough = tokens >= 1
            self._buckets[key_id] = (tokens - 1 if enough else tokens, now)
        if not enough:
            seconds = math.ceil((1 - tokens) / self._rate)
            raise RateLimited(
                f"this key may send {self._rate:g} requests a second; wait {seconds} s",
                retry_after_seconds=seconds,
            )
