"""Several pieces of work at once on a CPU, each with one thread.

Between small tensors, threads that share each operation wait for each other more than they compute.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Result = TypeVar("Result")

PIXELS_AT_ONCE = 2 * 1280 * 720
"""Of the frames of clips that are worked on at once, so that large ones take no more memory."""


def clips_at_once(device: torch.device, height: int, width: int) -> int:
    """How many clips of one size are worth a thread each."""
    if device.type != "cpu":
        return 1
    return max(1, min(torch.get_num_threads(), PIXELS_AT_ONCE // (height * width)))


@contextmanager
def one_thread_each(number: int) -> Iterator[Executor]:
    """That many workers; what they have not begun when the block ends is dropped."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(number, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # for threads that are made later: the last call counts


def in_order(pool: Executor, calls: Iterable[Callable[[], Result]], ahead: int) -> Iterator[Result]:
    """What the calls return, one after the other, while ``ahead`` more of them are under way.

    What goes wrong, in a call or in making one, is raised in its turn.
    """
    pending: deque[Future[Result]] = deque()
    for future in _submitted(pool, calls):
        pending.append(future)
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _submitted(pool: Executor, calls: Iterable[Callable[[], Result]]) -> Iterator[Future[Result]]:
    try:
        for call in calls:
            yield pool.submit(call)
    except Exception as error:  # raised again by who asks for the result
        failed: Future[Result] = Future()
        failed.set_exception(error)
        yield failed
