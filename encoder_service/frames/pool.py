"""Child processes that render frames: started when first needed, replaced when they die or hang."""

from __future__ import annotations

import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, cast

from encoder_service.errors import FrameFailed, FrameTimedOut, RendererLost, RenderersBusy
from encoder_service.frames.protocol import BYTES, PICTURE, READ, REFUSED, RENDER, receive, send
from encoder_service.frames.request import PictureRequest
from encoder_service.settings import FrameSettings
from encoder_service.telemetry import fields

log = logging.getLogger(__name__)

# By name: it leads to torch, which this process must not import.
RENDERING = "encoder_service.frames.rendering"
MODELS = "NRV_MODELS"  # as `hypernet.decoders.decode_file` says
BROKEN = (OSError, EOFError, ValueError, KeyError, TypeError)  # a conversation that makes no sense
WAITING_PER_CHILD = 8  # more requests than these at once would take every thread of the API


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredStream:
    """A stream in the object store: ``read(offset, length)`` gives a range of it."""

    size: int  # bytes
    read: Callable[[int, int], bytes]


class RendererPool:
    """At most ``settings.children`` processes; as many pictures are made at the same time."""

    def __init__(self, settings: FrameSettings) -> None:
        self._settings = settings
        self._models: TemporaryDirectory[str] | None = None
        children = range(max(1, settings.children))
        self._children = [Renderer(settings, self._environment) for _ in children]
        # The one used last is given out first: on a quiet day one process is enough.
        self._idle: queue.LifoQueue[Renderer] = queue.LifoQueue()
        for child in self._children:
            self._idle.put(child)
        self._making = threading.Lock()
        self._waiting = threading.BoundedSemaphore(WAITING_PER_CHILD * len(self._children))

    def render(self, stream: StoredStream, wanted: PictureRequest) -> bytes:
        """One picture.

        Raises:
            RenderersBusy: nobody had time for it.
            FrameTimedOut: it took too long.
            RendererLost: the process that was at it died.
            FrameFailed: the stream is damaged, or needs more than it may have.
            StorageError: the stream could not be read.
        """
        with self._borrowed() as child:
            return child.render(stream, wanted)

    def models(self) -> Path:
        """The folder where the processes find decode files beside those that are installed."""
        if MODELS in os.environ:
            return Path(os.environ[MODELS])
        with self._making:
            if self._models is None:
                self._models = TemporaryDirectory(prefix="nrv-models-")
        return Path(self._models.name)

    def close(self) -> None:
        """End the processes."""
        for child in self._children:
            child.stop()
        if self._models is not None:
            self._models.cleanup()

    def _environment(self) -> dict[str, str]:
        """Ours without the secrets of the service and of its bucket."""
        known = {n: text for n, text in os.environ.items() if not n.startswith(("NRV_", "AWS_"))}
        needed = MODELS in os.environ or self._models is not None
        return known | {MODELS: str(self.models())} if needed else known

    @contextmanager
    def _borrowed(self) -> Iterator[Renderer]:
        if not self._waiting.acquire(blocking=False):
            raise RenderersBusy("too many frames are asked for at once; try again in a moment")
        try:
            child = self._idle.get(timeout=self._settings.wait_seconds)
        except queue.Empty:
            raise RenderersBusy("other frames take their time; try again in a moment") from None
        finally:
            self._waiting.release()
        try:
            yield child
        finally:
            self._idle.put(child)


class Renderer:
    """One process, or none as long as nobody wants a picture; serves one request at a time."""

    def __init__(self, settings: FrameSettings, environment: Callable[[], dict[str, str]]) -> None:
        self._settings = settings
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def render(self, stream: StoredStream, wanted: PictureRequest) -> bytes:
        """See `RendererPool.render`."""
        process = self._running()
        late = threading.Event()
        timer = threading.Timer(self._settings.seconds, _give_up, (process, late))
        timer.start()
        try:
            return _converse(process, stream, wanted)
        except BROKEN as error:
            self.stop()
            if late.is_set():
                seconds = self._settings.seconds
                raise FrameTimedOut(f"frame {wanted.frame} takes over {seconds:g} s") from None
            log.error("renderer lost", extra=fields(pid=process.pid, frame=wanted.frame))
            raise RendererLost(f"what rendered frame {wanted.frame} ended; try again") from error
        except BaseException:
            self.stop()  # in the middle of a conversation, it would misunderstand the next one
            raise
        finally:
            timer.cancel()
            timer.join()
            if late.is_set():
                self.stop()

    def stop(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self.stop()
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", RENDERING, str(self._settings.memory_bytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=self._environment(),
                start_new_session=True,  # Ctrl-C is for us
            )
            log.info("renderer started", extra=fields(pid=self._process.pid))
        return self._process


def _give_up(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    process.kill()


def _converse(
    process: subprocess.Popen[bytes], stream: StoredStream, wanted: PictureRequest
) -> bytes:
    """Ask for a picture and give ranges of the stream until it comes."""
    requests, answers = cast("BinaryIO", process.stdin), cast("BinaryIO", process.stdout)
    question = {
        "kind": RENDER,
        "stream_bytes": stream.size,
        "frame": wanted.frame,
        "picture_format": wanted.picture_format,
        "width": wanted.width,
    }
    send(requests, question)
    while True:
        header, payload = receive(answers)
        if header["kind"] == PICTURE:
            return payload
        if header["kind"] == REFUSED:
            raise FrameFailed(str(header["message"]), reason=str(header["code"]))
        if header["kind"] != READ:
            raise ValueError(f"a renderer says {header['kind']!r}")
        send(requests, {"kind": BYTES}, stream.read(header["offset"], header["length"]))
