"""From stream bytes to frames: any frame, any segment, nothing read that is not needed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import torch

from hypernet.bitstream.header import StreamHeader
from hypernet.bitstream.limits import DEFAULT_LIMITS, Limits
from hypernet.bitstream.reader import StreamReader
from hypernet.bitstream.segment import decode_segment, read_segment_timing
from hypernet.bitstream.sources import ByteSource, FileSource, HttpSource
from hypernet.errors import InvalidStream
from hypernet.segment_decoder import SegmentDecoder
from hypernet.sequential_decoding import SegmentPart, decoded_frames
from hypernet.video.colour import Colour
from hypernet.video.probe import VideoInfo
from hypernet.video.reader import Frame


class NrvStream:
    """An opened ``.nrv`` stream.

    Attributes:
        header: what the stream says of itself.
        info: the same as a description of a video, for writing.
    """

    def __init__(
        self,
        source: ByteSource,
        limits: Limits = DEFAULT_LIMITS,
        device: torch.device | None = None,
    ) -> None:
        self.reader = StreamReader(source, limits)
        self.header = self.reader.header
        self.info = info_of(self.header, has_audio=self.reader.index.audio is not None)
        self.segments = SegmentDecoder(self.header, limits, device)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Frames ``start <= n < stop`` in order; only the segments that hold them are read.

        Raises:
            InvalidStream: a segment is damaged.
        """
        stop = min(self.header.num_frames, self.header.num_frames if stop is None else stop)
        yield from decoded_frames(self.segments, self._parts(start, stop), max(0, stop - start))

    def _parts(self, start: int, stop: int) -> Iterator[Callable[[], SegmentPart]]:
        while start < stop:
            number = self.reader.index.segment_of(start)
            entry = self.reader.index.segments[number]
            end = min(stop, entry.first_frame + entry.num_frames)
            frames = range(start - entry.first_frame, end - entry.first_frame)
            yield functools.partial(self._part, number, frames)
            start = end

    def _part(self, number: int, frames: range) -> SegmentPart:
        payload = self.reader.segment(number)
        timing = read_segment_timing(payload, self.segments.limits)
        if len(timing.pts) < frames.stop:
            raise InvalidStream(f"segment {number} holds fewer frames than the index says")
        return SegmentPart(payload=payload, timing=timing, frames=frames)

    def frame(self, number: int) -> Frame:
        """One frame.

        Raises:
            IndexError: there is no such frame.
            InvalidStream: its segment is damaged.
        """
        if not 0 <= number < self.header.num_frames:
            raise IndexError(f"frame {number} of {self.header.num_frames}")
        return next(self.frames(number, number + 1))


def verify(reader: StreamReader) -> int:
    """Check every checksum and decode every symbol; returns the number of weights.

    Raises:
        InvalidStream: something is damaged; the message names it.
    """
    reader.verify()
    decoder = SegmentDecoder(reader.header, reader.limits)
    count = 0
    for number, entry in enumerate(reader.index.segments):
        segment = decode_segment(
            reader.segment(number), decoder.specs_of, reader.limits, coding=decoder.coding
        )
        if len(segment.pts) != entry.num_frames or segment.pts[0] != entry.first_pts:
            raise InvalidStream(f"segment {number} and the index disagree about its frames")
        count += sum(s.size for clip in segment.clips for s in clip.symbols.values())
    return count


@contextmanager
def open_stream(
    path: Path | str, *, limits: Limits = DEFAULT_LIMITS, device: torch.device | None = None
) -> Iterator[NrvStream]:
    """Open a stream in a file or behind an ``http(s)://`` address that answers range requests.

    Raises:
        InvalidStream: missing, damaged, or not a stream.
    """
    if isinstance(path, str) and path.startswith(("http://", "https://")):
        yield NrvStream(HttpSource(path), limits, device)
        return
    with FileSource(Path(path)) as source:
        yield NrvStream(source, limits, device)


def info_of(header: StreamHeader, *, has_audio: bool) -> VideoInfo:
    """A stream header as the description of a video."""
    return VideoInfo(
        width=header.width,
        height=header.height,
        time_base=Fraction(header.time_base_num, header.time_base_den),
        frame_rate=None,
        rotation=header.rotation,
        pixel_aspect=Fraction(header.pixel_aspect_num, header.pixel_aspect_den),
        colour=Colour(
            primaries=header.colour_primaries,
            transfer=header.colour_transfer,
            matrix=header.colour_matrix,
            full_range=header.full_range,
        ),
        bit_depth=header.bit_depth,
        estimated_frames=header.num_frames,
        has_audio=has_audio,
    )
