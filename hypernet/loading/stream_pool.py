"""Opened streams of a large set: opened when asked for, a bounded number at a time."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from hypernet.bitstream.reader import StreamReader
from hypernet.bitstream.sources import ByteSource, FileSource
from hypernet.errors import InvalidStream, MissingDecodeFile
from hypernet.loading.catalogue import StreamPlace
from hypernet.loading.range_cache import RangeCache
from hypernet.segment_decoder import SegmentDecoder

DEFAULT_OPEN = 64


class DamagedStream(InvalidStream):
    """A stream of the set cannot be used; the message names it.

    Attributes:
        stream: its number, -1 if it is not known any more (after passing between processes).
    """

    def __init__(self, message: str, stream: int = -1) -> None:
        super().__init__(message)
        self.stream = stream


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenedStream:
    """A stream whose front matter was read: where its bytes are, and what decodes them."""

    source: ByteSource
    reader: StreamReader
    segments: SegmentDecoder

    def close(self) -> None:
        """Give its file back."""
        if isinstance(self.source, FileSource):
            self.source.close()


class StreamPool:
    """The streams of a set by number. Every process opens its own.

    Args:
        places: where the streams lie.
        max_open: streams that are open at a time, and so files.
        cache: of ranges of remote streams.
    """

    def __init__(
        self,
        places: Sequence[StreamPlace],
        *,
        max_open: int = DEFAULT_OPEN,
        cache: RangeCache | None = None,
    ) -> None:
        self.places = places
        self.cache = cache
        self._max_open = max(1, max_open)
        self._opened: OrderedDict[int, OpenedStream] = OrderedDict()
        self._process = os.getpid()

    def __len__(self) -> int:
        return len(self.places)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": OrderedDict()}

    def __del__(self) -> None:
        if "_opened" in self.__dict__:  # not if making it failed
            self.close()

    @property
    def num_open(self) -> int:
        """Streams that are open in this process."""
        return len(self._opened)

    def stream(self, number: int) -> OpenedStream:
        """An opened stream; valid until ``max_open`` others were asked for.

        Raises:
            DamagedStream: its front matter is damaged.
            MissingDecodeFile: it needs one that is not installed.
            UnreadableInput: it cannot be read at all.
        """
        self._forget_those_of_a_parent()
        if number not in self._opened:
            while len(self._opened) >= self._max_open:
                self._opened.popitem(last=False)[1].close()
            self._opened[number] = self._open(number)
        self._opened.move_to_end(number)
        return self._opened[number]

    def damaged(self, number: int, reason: InvalidStream) -> DamagedStream:
        """The error that says which stream is damaged."""
        name = self.places[number].name
        text = str(reason)
        return DamagedStream(text if name in text else f"{name}: {text}", number)

    def close(self) -> None:
        """Close every stream; they open again when asked for."""
        while self._opened:
            self._opened.popitem()[1].close()

    def _open(self, number: int) -> OpenedStream:
        place = self.places[number]
        with ExitStack() as undo:
            source = self._source(place)
            if isinstance(source, FileSource):
                undo.callback(source.close)
            try:
                reader = StreamReader(source)
                segments = SegmentDecoder(reader.header)
            except InvalidStream as error:
                raise self.damaged(number, error) from error
            except MissingDecodeFile as error:
                raise MissingDecodeFile(f"{place.name}: {error}") from error
            undo.pop_all()
        return OpenedStream(source=source, reader=reader, segments=segments)

    def _source(self, place: StreamPlace) -> ByteSource:
        if place.is_remote:
            from hypernet.loading.s3 import S3Source  # noqa: PLC0415 -- an optional extra

            return S3Source(place, self.cache)
        return FileSource(place.name)

    def _forget_those_of_a_parent(self) -> None:
        """After a fork: network connections cannot be shared."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self.close()
