"""Reads videos in a child process that is used again and again, and replaced when it is lost.

What a crafted file can do to FFmpeg, it does to the child: the child has limits on memory and
processor time, no network where the system allows that, and no secret in its environment.
"""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from encoder_service.settings import WorkerSettings
from encoder_service.storage.disk import os_errors_translated
from hypernet.bitstream.limits import DEFAULT_LIMITS
from hypernet.errors import (
    Cancelled,
    HypernetError,
    UnreadableInput,
    UnreadableVideo,
    UnsupportedVideo,
)
from hypernet.video.reader import Frame
from hypernet.video.segments import SegmentRange
from workers.codec import Json
from workers.reading.messages import FRAME_HEADER, Kind
from workers.reading.process import Ended, Nonsense, ReadingProcess, Silent

Messages = Generator[tuple[Kind, NDArray[np.uint8]], None, None]

log = logging.getLogger(__name__)

# By somebody else, or by the system for want of memory: another attempt may go better.
KILLED = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT})
REFUSALS = {kind.code: kind for kind in (UnreadableInput, UnreadableVideo, UnsupportedVideo)}


class OverLimit(UnreadableVideo):
    """Reading the video takes more memory or time than it may."""

    code = "video.over_limit"


class ReaderLost(HypernetError):
    """The process that was reading is gone, for a reason that need not lie in the video."""

    code = "video.reader_lost"


class SandboxedReader:
    """Reads one video at a time. Every method raises `UnreadableInput`, or `ReaderLost`.

    Args:
        settings: what reading may take.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._process: ReadingProcess | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def survey(
        self, source: Path, segment_frames: int, should_stop: Callable[[], bool]
    ) -> dict[str, Any]:
        """Describe a video and cut it into segments.

        Returns:
            ``info``, ``segments`` and ``warnings``, as in the JSON of a `hypernet.plan.Plan`.

        Raises:
            Cancelled: ``should_stop`` said so.
        """
        request = {
            "do": "survey",
            "segment_frames": segment_frames,
            "max_segments": self._settings.source_segments,
        }
        with closing(self._ask(source, request)) as messages:
            for kind, body in messages:
                told = _parsed(body)
                if kind is Kind.DONE:
                    self._refuse_more(source, sum(each["num_frames"] for each in told["segments"]))
                    return told
                self._refuse_more(source, told["frames"])
                if should_stop():
                    raise Cancelled("told to stop while the source was being read")
        raise ReaderLost("the reader gave no answer")

    def frames(self, source: Path, segment: SegmentRange) -> Iterator[Frame]:
        """The frames of one segment."""
        request = {
            "do": "frames",
            "start": segment.first_frame,
            "stop": segment.first_frame + segment.num_frames,
            "start_pts": segment.first_pts if segment.seekable else None,
        }
        held: Frame | None = None  # the last frame is given once the child has said that it is
        with closing(self._ask(source, request)) as messages:
            for kind, body in messages:
                if held is not None:
                    yield held
                held = _frame(body) if kind is Kind.FRAME else None

    def copy_audio(self, source: Path, output: Path) -> tuple[str, ...]:
        """Write the sound, as a stream holds it, to a file; returns what had to be left out.

        Raises:
            StorageError: the file cannot be written.
        """
        with (
            os_errors_translated(output.name),
            output.open("wb") as file,
            closing(self._ask(source, {"do": "audio"})) as messages,
        ):
            for kind, body in messages:
                if kind is Kind.DONE:
                    return tuple(map(str, _parsed(body)["dropped"]))
                file.write(body.data)
                if file.tell() > DEFAULT_LIMITS.max_audio_bytes:
                    raise OverLimit(f"{source} has more sound than a stream can hold")
        raise ReaderLost("the reader gave no answer")

    def _ask(self, source: Path, request: Json) -> Messages:
        """The messages of an answer.

        A child that does not come to its end, or that a file has troubled, is not used again: who
        knows what is left of its memory.
        """
        settings = self._settings
        asked = {**request, "path": str(source), "cpu_seconds": settings.reading_cpu_seconds}
        process, done = self._take_process(), False
        try:
            process.ask(asked)
            while not done:
                kind, body = process.receive(settings.reading_silent_seconds)
                if kind is Kind.REFUSED:
                    raise self._refusal(source, _parsed(body))
                done = kind is Kind.DONE
                self._process = process if done else None
                yield kind, body
        except Ended:
            raise self._loss(source, process.status()) from None
        except Silent:
            seconds = settings.reading_silent_seconds
            raise OverLimit(
                f"{source} gave nothing for {seconds:g} s; it is damaged or too large"
            ) from None
        except Nonsense:
            raise ReaderLost("the process that read the source answered with nonsense") from None
        finally:
            if not done:
                process.kill()

    def _take_process(self) -> ReadingProcess:
        process, self._process = self._process, None
        if process is not None:
            if process.is_alive:
                return process
            process.kill()  # somebody has; this closes its pipes
        try:
            return ReadingProcess(self._settings.reading_bytes)
        except (Ended, Silent, Nonsense):
            raise ReaderLost("no reader could be started; the worker's log says why") from None

    def _refuse_more(self, source: Path, frames: int) -> None:
        if frames > self._settings.source_frames:
            raise UnsupportedVideo(
                f"{source} has {frames} frames; at most {self._settings.source_frames} are "
                "accepted: cut it into parts first"
            )

    def _refusal(self, source: Path, told: Json) -> HypernetError:
        if told["code"] == "memory":
            return OverLimit(
                f"{source} takes more than {self._settings.reading_bytes >> 20} MiB to read"
            )
        return REFUSALS.get(str(told["code"]), UnreadableVideo)(str(told["message"]))

    def _loss(self, source: Path, status: int) -> HypernetError:
        """What the end of a child means; ``status`` is as `subprocess` gives it."""
        name = signal.Signals(-status).name if status < 0 else f"status {status}"
        log.warning("reader lost: %s", name)
        if status == -signal.SIGXCPU:
            seconds = self._settings.reading_cpu_seconds
            return OverLimit(f"{source} takes more than {seconds} s of processor time to read")
        if -status in KILLED or status >= 0:
            return ReaderLost(f"the process that read the source was lost ({name})")
        return UnreadableVideo(f"{source} makes the reader crash ({name}); it is damaged")


def _parsed(body: NDArray[np.uint8]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(body.tobytes())
    return told


def _frame(body: NDArray[np.uint8]) -> Frame:
    pts, height, width = FRAME_HEADER.unpack_from(body.data)
    pixels = body[FRAME_HEADER.size :]
    if len(pixels) != 3 * height * width:
        raise ReaderLost("the reader sent a frame of another size than it said")
    return Frame(pts=pts, rgb_HWC=pixels.reshape(height, width, 3))
