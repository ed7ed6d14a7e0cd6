"""From stream bytes to frames: any frame, any segment, nothing read that is not needed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from operator import itemgetter
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hypernet.bitstream.header import StreamHeader
from hypernet.bitstream.limits import DEFAULT_LIMITS, Limits
from hypernet.bitstream.reader import StreamReader
from hypernet.bitstream.segment import decode_segment, read_segment_timing
from hypernet.bitstream.sources import ByteSource, FileSource, HttpSource
from hypernet.errors import InvalidStream
from hypernet.parallel_decoding import FrameRenderer, decode_symbols, gains_from_batches
from hypernet.rendering import BATCH_BYTES, Renderer
from hypernet.segment_decoder import SegmentDecoder, clip_places
from hypernet.video.colour import Colour
from hypernet.video.probe import VideoInfo
from hypernet.video.reader import Frame


def segment_frames(
    segments: SegmentDecoder, payload: bytes, start: int = 0, stop: int | None = None
) -> Iterator[Frame]:
    """Frames ``start <= n < stop`` of a segment; only the clips that hold them are decoded.

    Raises:
        InvalidStream: the payload is damaged.
    """
    timing = read_segment_timing(payload, segments.limits)
    stop = min(len(timing.pts), len(timing.pts) if stop is None else stop)
    wanted = range(start, stop)
    pictures = _together if gains_from_batches(segments) else _in_turn
    for number, rgb_HWC in zip(wanted, pictures(segments, payload, wanted), strict=True):
        yield Frame(pts=timing.pts[number], rgb_HWC=rgb_HWC)


def _together(
    segments: SegmentDecoder, payload: bytes, wanted: range
) -> Iterator[NDArray[np.uint8]]:
    """As many frames at once as fit."""
    renderer = FrameRenderer(segments.device)
    at_once = max(1, BATCH_BYTES // (3 * segments.header.height * segments.header.width))
    for start in range(0, len(wanted), at_once):
        pending = decode_symbols(segments, payload, wanted[start : start + at_once])
        for frames_NCHW in renderer.render([pending]):
            yield from frames_NCHW.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def _in_turn(
    segments: SegmentDecoder, payload: bytes, wanted: range
) -> Iterator[NDArray[np.uint8]]:
    """One clip after the other, so that no more than a clip is held."""
    timing = read_segment_timing(payload, segments.limits)
    places = clip_places(timing.clip_frames, wanted)
    clips = {clip for clip, _ in places}
    segment = decode_segment(
        payload, segments.specs_of, segments.limits, clips=clips, coding=segments.coding
    )
    renderer = Renderer(segments, segment.clips)
    for clip, group in itertools.groupby(places, key=itemgetter(0)):
        yield from renderer.pictures(clip, [time for _, time in group])


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
        while start < stop:
            number = self.reader.index.segment_of(start)
            entry = self.reader.index.segments[number]
            end = min(stop, entry.first_frame + entry.num_frames)
            count = 0
            for frame in segment_frames(
                self.segments,
                self.reader.segment(number),
                start - entry.first_frame,
                end - entry.first_frame,
            ):
                count += 1
                yield frame
            if count != end - start:
                raise InvalidStream(f"segment {number} holds fewer frames than the index says")
            start = end

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
