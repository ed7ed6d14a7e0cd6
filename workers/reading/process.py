"""A reading child as its parent sees it: start, ask, receive with a limit, kill."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import select
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from hypernet.video.demux import MAX_PIXELS
from workers.codec import Json
from workers.reading.child import BLOCK_BYTES
from workers.reading.messages import FRAME_HEADER, HEADER, Kind

log = logging.getLogger(__name__)

START_SECONDS = 60.0
END_SECONDS = 5.0  # from the end of its answers to its own
PIPE_BYTES = 1 << 20  # with less, a frame takes dozens of turns
# Everything else in our environment may be a secret, and none of it is needed for reading.
PASSED_ON = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
MAX_BYTES = {
    Kind.READY: 1 << 10,
    Kind.ALIVE: 1 << 10,
    Kind.FRAME: FRAME_HEADER.size + 3 * MAX_PIXELS,
    Kind.BYTES: BLOCK_BYTES,
    Kind.DONE: 1 << 25,
    Kind.REFUSED: 1 << 16,
}


class Ended(Exception):
    """The child is gone."""


class Silent(Exception):
    """The child says nothing."""


class Nonsense(Exception):
    """The child says what no child of ours would."""


class ReadingProcess:
    """One child, ready for requests.

    Args:
        memory_bytes: what it may use beyond what its program takes.

    Raises:
        Ended, Silent: it could not be started.
    """

    def __init__(self, memory_bytes: int) -> None:
        module = [sys.executable, "-m", "workers.reading.child"]
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [*module, str(os.getpid()), str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for us
        )
        pipes = (self._process.stdin, self._process.stdout)
        self._pipes = [pipe for pipe in pipes if pipe is not None]
        self._requests, self._answers = (pipe.fileno() for pipe in self._pipes)
        _widen(self._answers)
        self._readable = select.poll()
        self._readable.register(self._answers)
        try:
            _, body = self.receive(START_SECONDS)
        except BaseException:
            self.kill()
            raise
        if json.loads(body.tobytes())["network"]:
            log.warning("the system does not let readers leave the network; they refuse to use it")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def ask(self, request: Json) -> None:
        """Send a request.

        Raises:
            Ended: there is nobody to take it.
        """
        try:
            os.write(self._requests, json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise Ended from error

    def receive(self, seconds: float) -> tuple[Kind, NDArray[np.uint8]]:
        """The next message, whole, within ``seconds``.

        Raises:
            Ended: the child ended first.
            Silent: it took longer.
            Nonsense: the message has no known kind, or is longer than its kind can be.
        """
        deadline = time.monotonic() + seconds
        number, length = HEADER.unpack(self._read(HEADER.size, deadline).data)
        if number not in MAX_BYTES or length > MAX_BYTES[Kind(number)]:
            raise Nonsense
        return Kind(number), self._read(length, deadline)

    def _read(self, length: int, deadline: float) -> NDArray[np.uint8]:
        body = np.empty(length, np.uint8)
        rest = body.data
        while rest:
            left = max(0.0, deadline - time.monotonic())
            if not self._readable.poll(1000 * left):
                raise Silent
            count = os.readv(self._answers, [rest])
            if count == 0:
                raise Ended
            rest = rest[count:]
        return body

    def status(self) -> int:
        """How it ended, as `subprocess` gives it; one that does not end is killed."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(END_SECONDS)
        return self.kill()

    def kill(self) -> int:
        """End it at once; returns its status, as `subprocess` gives it."""
        self._process.kill()
        for pipe in self._pipes:
            pipe.close()
        return self._process.wait()


def _widen(pipe: int) -> None:
    """Make a pipe hold more, where the system and its quota allow that."""
    if sys.platform == "linux":
        with suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _environment() -> dict[str, str]:
    known = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    # Address space that threads reserve and never use would count as used.
    return {**known, "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
