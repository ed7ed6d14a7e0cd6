from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from hypernet.loading.prefetching import Prefetcher, Waiting


def counted(stop: int) -> Generator[int, None, None]:
    yield from range(stop)


def test_items_come_in_order_and_are_counted() -> None:
    waiting = Waiting()
    assert list(Prefetcher(lambda: counted(20), 3, waiting)) == list(range(20))
    assert waiting.items == 20


def test_no_more_than_the_depth_is_made_ahead() -> None:
    made: list[int] = []
    enough = threading.Event()

    def items() -> Generator[int, None, None]:
        for number in range(10):
            made.append(number)
            if len(made) == 5:
                enough.set()
            yield number

    taking = iter(Prefetcher(items, 3, Waiting()))
    assert next(taking) == 0
    assert enough.wait(10)  # one taken, three that wait, one in hand
    assert not any(number > 4 for number in made)
    assert list(taking) == list(range(1, 10))


def test_an_error_is_raised_where_items_are_taken() -> None:
    def items() -> Generator[int, None, None]:
        yield 1
        raise ValueError("broken")

    taking = iter(Prefetcher(items, 1, Waiting()))
    assert next(taking) == 1
    with pytest.raises(ValueError, match="broken"):
        next(taking)


def test_leaving_early_ends_the_thread() -> None:
    before = threading.active_count()
    for item in Prefetcher(lambda: counted(1000), 2, Waiting()):
        if item == 5:
            break
    assert threading.active_count() == before
