from __future__ import annotations

import threading
import time
from functools import partial

import pytest
import torch

from hypernet.one_thread_each import clips_at_once, in_order, one_thread_each


def test_work_has_one_thread_and_others_keep_theirs() -> None:
    before = torch.get_num_threads()
    with one_thread_each(2) as pool:
        assert set(pool.map(lambda _: torch.get_num_threads(), range(4))) == {1}
        assert torch.get_num_threads() == before
    seen: list[int] = []
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == [before]


def test_what_has_not_begun_is_dropped() -> None:
    begun, held = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        held.wait(10)

    with one_thread_each(1) as pool:
        first, second = pool.submit(work), pool.submit(work)
        begun.wait(10)
        threading.Timer(0.1, held.set).start()
    assert first.done()
    assert second.cancelled()


def test_results_come_in_order_and_few_are_ahead() -> None:
    begun: list[int] = []

    def call(number: int) -> int:
        begun.append(number)
        time.sleep(0.01 * (number % 2 == 0))
        return number

    with one_thread_each(2) as pool:
        results = in_order(pool, (partial(call, number) for number in range(6)), 2)
        for number, result in enumerate(results):
            assert result == number
            assert max(begun) <= number + 2


def test_an_error_comes_in_its_turn() -> None:
    def call(number: int) -> float:
        return 1 / (2 - number)

    with one_thread_each(2) as pool:
        results = in_order(pool, (partial(call, number) for number in range(4)), 3)
        assert [next(results), next(results)] == [0.5, 1.0]
        with pytest.raises(ZeroDivisionError):
            next(results)


@pytest.mark.parametrize(
    ("device", "size", "number"),
    [("cpu", (480, 854), 2), ("cpu", (1080, 1920), 1), ("cuda", (480, 854), 1)],
)
def test_large_clips_are_not_worked_on_at_once(
    device: str, size: tuple[int, int], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert clips_at_once(torch.device(device), *size) == number
