from __future__ import annotations

import pytest

from encoder_service.api.rate_limits import RateLimiter
from encoder_service.errors import RateLimited
from encoder_service.settings import ApiSettings


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limiter(clock: Clock, rate: float, burst: int) -> RateLimiter:
    return RateLimiter(ApiSettings(requests_per_second=rate, request_burst=burst), clock=clock)


def passed(limits: RateLimiter, key: str = "one", tries: int = 100) -> int:
    for number in range(tries):
        try:
            limits.take(key)
        except RateLimited:
            return number
    return tries


def test_a_burst_passes_and_the_bucket_fills_again(clock: Clock) -> None:
    limits = limiter(clock, rate=2, burst=5)
    assert passed(limits) == 5
    clock.now += 1.5
    assert passed(limits) == 3
    clock.now += 3600
    assert passed(limits) == 5


def test_every_key_has_a_bucket_of_its_own(clock: Clock) -> None:
    limits = limiter(clock, rate=1, burst=2)
    assert [passed(limits, key) for key in ("one", "two", "one")] == [2, 2, 0]


@pytest.mark.parametrize(("rate", "seconds"), [(0.1, 10), (0.4, 3), (50, 1)])
def test_whoever_is_refused_hears_when_to_come_back(
    clock: Clock, rate: float, seconds: int
) -> None:
    limits = limiter(clock, rate=rate, burst=1)
    limits.take("one")
    with pytest.raises(RateLimited, match="wait") as refused:
        limits.take("one")
    assert refused.value.retry_after_seconds == seconds
    clock.now += seconds
    limits.take("one")


def test_no_rate_is_no_limit(clock: Clock) -> None:
    assert passed(limiter(clock, rate=0, burst=1)) == 100
