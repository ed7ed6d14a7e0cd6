from __future__ import annotations

import threading

import torch

from hypernet.one_thread_each import one_thread_each


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
