"""What a reading child gives up before it opens its first file. Linux; elsewhere memory and time.

A limit is what the process may use beyond what its own program takes, so it need not be guessed
anew with every version of a library.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000  # linux/sched.h
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_NO_NEW_PRIVS = 38


def leave_network() -> bool:
    """Move into a network of our own that has no way out; False where the system forbids it.

    Must come before the first thread.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    # A user namespace lets those do it who are not root.
    return any(libc.unshare(flags) == 0 for flags in (CLONE_NEWNET, CLONE_NEWUSER | CLONE_NEWNET))


def die_with(parent: int) -> None:
    """Be killed when the parent ends in whatever way, and never gain a right that we lack now."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent is gone already")


def limit_memory(more_bytes: int) -> None:
    """Let the address space grow by no more than ``more_bytes``; leave no core dump."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _lower(resource.RLIMIT_AS, pages * resource.getpagesize() + more_bytes)


def limit_cpu(more_seconds: int) -> None:
    """End with SIGXCPU once ``more_seconds`` of processor time, of all threads, are used up."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _lower(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + more_seconds)


def _lower(limit: int, value: int) -> None:
    """Set a soft limit; the hard one, which an administrator may have set, stays."""
    _, hard = resource.getrlimit(limit)
    resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
