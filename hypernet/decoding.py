"""From stream bytes to frames: any frame, any segment, nothing read that is not needed."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypernet.bitstream.header import StreamHeader
from hypernet.bitstream.limits import DEFAULT_LIMITS, Limits, check_limit
from hypernet.bitstream.reader import StreamReader
from hypernet.bitstream.segment import SegmentSymbols, decode_segment, read_segment_timing
from hypernet.bitstream.sources import ByteSource, FileSource, HttpSource
from hypernet.decoders import Decoder, build_decoder
from hypernet.errors import InvalidStream
from hypernet.quantization import dequantize
from hypernet.video.colour import Colour
from hypernet.video.probe import VideoInfo
from hypernet.video.reader import Frame
from hypernet.weights import ClipShape, WeightSpec

BATCH_BYTES = 256 << 20  # activations rendered at once
MAX_ACTIVATION_BYTES = 8 << 30  # of one frame; a stream that needs more is refused


class SegmentDecoder:
    """Decodes the segments of one stream; everything it knows comes from the header.

    Args:
        header: the stream's header.
        limits: bounds on what is decoded.
        device: where frames are rendered.

    Raises:
        InvalidStream: unknown decoder, or one that needs more memory than is allowed.
    """

    def __init__(
        self,
        header: StreamHeader,
        limits: Limits = DEFAULT_LIMITS,
        device: torch.device | None = None,
    ) -> None:
        self.header, self.limits = header, limits
        self.device = device or torch.device("cpu")
        self.decoder_of(1)

    def decoder_of(self, num_frames: int) -> Decoder:
        """The decoder of a clip with that many frames."""
        shape = ClipShape(frames=num_frames, height=self.header.height, width=self.header.width)
        decoder = build_decoder(self.header.decoder, self.header.decoder_config, shape)
        check_limit(
            "the memory to render one frame", decoder.activation_bytes(), MAX_ACTIVATION_BYTES
        )
        return decoder

    def specs_of(self, num_frames: int) -> tuple[WeightSpec, ...]:
        """What is sent for a clip with that many frames."""
        return self.decoder_of(num_frames).weight_specs()

    def frames(self, payload: bytes, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Frames ``start <= n < stop`` of a segment; only the clips that hold them are decoded.

        Raises:
            InvalidStream: the payload is damaged.
        """
        timing = read_segment_timing(payload, self.limits)
        clip_starts = [0, *accumulate(timing.clip_frames)]
        stop = min(clip_starts[-1], clip_starts[-1] if stop is None else stop)
        if start >= stop:
            return
        first = bisect.bisect_right(clip_starts, start) - 1
        last = bisect.bisect_left(clip_starts, stop)
        segment = decode_segment(payload, self.specs_of, self.limits, clips=range(first, last))
        for clip in range(first, last):
            offset = clip_starts[clip]
            times = range(max(start, offset), min(stop, clip_starts[clip + 1]))
            pictures = self._render(segment, clip, [n - offset for n in times])
            for n, rgb_HWC in zip(times, pictures, strict=True):
                yield Frame(pts=segment.pts[n], rgb_HWC=rgb_HWC)

    @torch.inference_mode()
    def _render(
        self, segment: SegmentSymbols, number: int, times: Sequence[int]
    ) -> Iterator[NDArray[np.uint8]]:
        clip = segment.clips[number]
        decoder = self.decoder_of(clip.num_frames)
        specs = decoder.weight_specs()
        weights = dequantize(specs, clip.symbols, segment.step_indices, self.device)
        batch = max(1, min(8, BATCH_BYTES // decoder.activation_bytes()))
        all_times = torch.tensor(times, dtype=torch.float32, device=self.device)
        for times_N in torch.split(all_times, batch):
            yield from to_uint8(decoder.render(weights, times_N)).numpy()


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
            for frame in self.segments.frames(
                self.reader.segment(number), start - entry.first_frame, end - entry.first_frame
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
    specs_of = SegmentDecoder(reader.header, reader.limits).specs_of
    count = 0
    for number, entry in enumerate(reader.index.segments):
        segment = decode_segment(reader.segment(number), specs_of, reader.limits)
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


def to_uint8(frames_NCHW: Tensor) -> Tensor:
    """RGB in [0, 1] as ``frames_NHWC`` uint8 on the CPU, out-of-range values clipped."""
    pixels = frames_NCHW.mul(255).add_(0.5).clamp_(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().cpu()


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
