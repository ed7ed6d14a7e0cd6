"""Several pieces of work at once on a CPU, each with one thread.

Between small tensors, threads that share each operation wait for each other more than they compute.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import torch


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
