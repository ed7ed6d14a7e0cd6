"""Write errors wait until they are asked for."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from hypernet.video.sink import Nowhere, Sink


def test_a_sink_is_a_file() -> None:
    file = io.BytesIO()
    sink = Sink(file)
    assert sink.seekable()
    assert sink.write(b"hello") == 5
    assert sink.seek(1) == 1
    assert sink.write(b"E") == 1
    assert sink.tell() == 2
    sink.check()
    assert file.getvalue() == b"hEllo"


def test_the_first_error_is_kept() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        sink = Sink(full)
        assert sink.write(b"hello") == 5
        assert sink.write(b"again") == 5
        assert (sink.seek(3), sink.tell()) == (0, 0)
        with pytest.raises(OSError, match="No space left"):
            sink.check()


def test_an_error_while_moving_is_kept() -> None:
    class Broken(io.BytesIO):
        def seek(self, offset: int, whence: int = 0) -> int:
            raise OSError(28, f"No space left for {offset} {whence}")

    sink = Sink(Broken())
    assert sink.seek(1) == 0
    with pytest.raises(OSError, match="No space left for 1 0"):
        sink.check()


def test_nowhere_moves_like_a_file() -> None:
    nowhere, file = Nowhere(), io.BytesIO()
    for move in ((0, 0), (3, 0), (-1, 1), (-2, 2), (9, 0)):
        assert nowhere.write(b"hello") == file.write(b"hello")
        assert nowhere.seek(*move) == file.seek(*move)
        assert nowhere.tell() == file.tell()
