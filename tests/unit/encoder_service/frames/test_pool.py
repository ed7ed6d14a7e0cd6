"""The pool against a renderer that misbehaves, and against the real one."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from encoder_service.errors import (
    FrameFailed,
    FrameTimedOut,
    RendererLost,
    RenderersBusy,
    StorageUnavailable,
)
from encoder_service.frames import pool
from encoder_service.frames.pool import RendererPool, StoredStream
from encoder_service.frames.request import PictureFormat, PictureRequest
from encoder_service.settings import FrameSettings
from hypernet.bitstream.sources import BytesSource, CountingSource
from hypernet.decoding import NrvStream
from tests.unit.encoder_service.frames import misbehaving

STREAM = Path(__file__).parents[3] / "golden" / "codec-debug.nrv"
EMPTY = StoredStream(size=0, read=lambda _offset, _length: b"")


def png(frame: int, width: int | None = None) -> PictureRequest:
    return PictureRequest(frame=frame, picture_format=PictureFormat.PNG, width=width)


@pytest.fixture
def misbehaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "RENDERING", misbehaving.__name__)


@pytest.fixture
def renderers(monkeypatch: pytest.MonkeyPatch) -> Iterator[RendererPool]:
    monkeypatch.setattr(pool, "RENDERING", misbehaving.__name__)
    made = RendererPool(FrameSettings(children=1, seconds=60, wait_seconds=60))
    yield made
    made.close()


def pid_of(renderers: RendererPool) -> int:
    return int(renderers.render(EMPTY, png(misbehaving.WHO)))


def test_a_process_is_started_once(renderers: RendererPool) -> None:
    assert pid_of(renderers) == pid_of(renderers)


def test_a_process_that_died_is_replaced(renderers: RendererPool) -> None:
    first = pid_of(renderers)
    with pytest.raises(RendererLost):
        renderers.render(EMPTY, png(misbehaving.DIE))
    second = pid_of(renderers)
    process = psutil.Process(second)
    process.kill()
    process.wait()
    assert len({first, second, pid_of(renderers)}) == 3


def test_nonsense_is_not_believed(renderers: RendererPool) -> None:
    first = pid_of(renderers)
    with pytest.raises(RendererLost):
        renderers.render(EMPTY, png(misbehaving.NONSENSE))
    assert pid_of(renderers) != first


@pytest.mark.usefixtures("misbehaves")
def test_a_process_that_hangs_is_killed() -> None:
    renderers = RendererPool(FrameSettings(seconds=0.2))
    with pytest.raises(FrameTimedOut, match=r"over 0\.2 s"):
        renderers.render(EMPTY, png(misbehaving.HANG))
    renderers.close()


@pytest.mark.usefixtures("misbehaves")
def test_a_request_waits_only_so_long() -> None:
    renderers = RendererPool(FrameSettings(children=1, seconds=60, wait_seconds=0.05))
    reading = threading.Event()
    go_on = threading.Event()

    def slowly(_offset: int, length: int) -> bytes:
        reading.set()
        go_on.wait()
        return b"a" * length

    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(
            renderers.render, StoredStream(size=9, read=slowly), png(misbehaving.READS)
        )
        reading.wait()
        with pytest.raises(RenderersBusy):
            renderers.render(EMPTY, png(misbehaving.WHO))
        go_on.set()
        assert slow.result() == b"aaa"
    renderers.close()


def test_what_the_store_says_reaches_the_caller(renderers: RendererPool) -> None:
    def away(offset: int, length: int) -> bytes:
        raise StorageUnavailable(f"no {offset}, no {length}")

    with pytest.raises(StorageUnavailable, match="no 2, no 3"):
        renderers.render(StoredStream(size=9, read=away), png(misbehaving.READS))
    assert pid_of(renderers)


def test_a_process_knows_no_secrets(
    renderers: RendererPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NRV_STORAGE_SECRET_KEY", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("NRV_MODELS", "/models")
    seen = json.loads(renderers.render(EMPTY, png(misbehaving.ENVIRONMENT)))
    assert "secret" not in seen.values()
    assert seen["NRV_MODELS"] == "/models"


KILLED = f"""
import os, signal
from encoder_service.frames import pool
from encoder_service.frames.pool import RendererPool, StoredStream
from encoder_service.frames.request import PictureFormat, PictureRequest
from encoder_service.settings import FrameSettings

pool.RENDERING = {misbehaving.__name__!r}
wanted = PictureRequest(frame={misbehaving.WHO}, picture_format=PictureFormat.PNG)
stream = StoredStream(size=0, read=lambda offset, length: b"")
print(RendererPool(FrameSettings()).render(stream, wanted).decode(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_ends_with_a_parent_that_was_killed() -> None:
    parent = subprocess.run(
        [sys.executable, "-c", KILLED], capture_output=True, text=True, check=False
    )
    assert parent.returncode == -signal.SIGKILL, parent.stderr
    with suppress(psutil.NoSuchProcess):
        psutil.Process(int(parent.stdout)).wait(timeout=30)


def test_closing_ends_the_processes(renderers: RendererPool) -> None:
    process = psutil.Process(pid_of(renderers))
    renderers.close()
    assert not process.is_running()


# The real one


@pytest.fixture(scope="module")
def real() -> Iterator[RendererPool]:
    made = RendererPool(FrameSettings(children=1, seconds=120))
    yield made
    made.close()


def stored(data: bytes, reads: list[tuple[int, int]] | None = None) -> StoredStream:
    def read(offset: int, length: int) -> bytes:
        if reads is not None:
            reads.append((offset, length))
        return data[offset : offset + length]

    return StoredStream(size=len(data), read=read)


def test_a_frame_as_the_codec_decodes_it(real: RendererPool) -> None:
    data = STREAM.read_bytes()
    source = CountingSource(BytesSource(data))
    stream = NrvStream(source)
    number = stream.header.num_frames - 1
    expected = stream.frame(number).rgb_HWC
    reads: list[tuple[int, int]] = []
    picture = real.render(stored(data, reads), png(number))
    with av.open(io.BytesIO(picture), "r") as container:
        shown = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert int(np.abs(shown.astype(int) - expected).max()) <= 1
    assert reads == source.reads


def test_a_small_jpeg(real: RendererPool) -> None:
    wanted = PictureRequest(frame=0, picture_format=PictureFormat.JPG, width=16)
    picture = real.render(stored(STREAM.read_bytes()), wanted)
    assert picture.startswith(b"\xff\xd8\xff")
    with av.open(io.BytesIO(picture), "r") as container:
        assert next(container.decode(video=0)).width == 16


def test_a_damaged_stream_is_named(real: RendererPool) -> None:
    data = bytearray(STREAM.read_bytes())
    data[len(data) // 2] ^= 255
    with pytest.raises(FrameFailed) as refused:
        real.render(stored(bytes(data)), png(0))
    assert refused.value.reason == "stream.invalid"
    assert real.render(stored(STREAM.read_bytes()), png(0))


def test_a_process_may_not_take_all_memory() -> None:
    renderers = RendererPool(FrameSettings(seconds=120, memory_bytes=64 * 2**20))
    with pytest.raises((RendererLost, FrameFailed)):
        renderers.render(stored(STREAM.read_bytes()), png(0))
    renderers.close()
