"""From stream bytes to frames: any frame, any segment, nothing read that is not needed."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypernet.bitstream.header import NO_DECODE_FILE, StreamHeader
from hypernet.bitstream.limits import DEFAULT_LIMITS, Limits, check_limit
from hypernet.bitstream.reader import StreamReader
from hypernet.bitstream.segment import (
    TABLE_CODING,
    ClipSymbols,
    WeightCoding,
    decode_segment,
    read_segment_timing,
)
from hypernet.bitstream.sources import ByteSource, FileSource, HttpSource
from hypernet.decoders import Decoder, build_decoder, config_to_fields
from hypernet.decoders.coding_order import Step, nearest_frame
from hypernet.decoders.decode_file import DecodeFile, find_decode_file
from hypernet.decoders.learned_coding import LearnedCoding
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
        MissingDecodeFile: the stream needs one that is not installed.
    """

    def __init__(
        self,
        header: StreamHeader,
        limits: Limits = DEFAULT_LIMITS,
        device: torch.device | None = None,
    ) -> None:
        self.header, self.limits = header, limits
        self.device = device or torch.device("cpu")
        self.coding: WeightCoding = TABLE_CODING
        self._base: dict[str, Tensor] | None = None
        if header.decode_file != NO_DECODE_FILE:
            decode_file = _fitting_decode_file(header)
            self.coding = LearnedCoding(decode_file.prior)
            self._base = {n: value.to(self.device) for n, value in decode_file.base.items()}
        self.decoder_of(1)

    def decoder_of(self, num_frames: int) -> Decoder:
        """The decoder of a clip with that many frames."""
        shape = ClipShape(frames=num_frames, height=self.header.height, width=self.header.width)
        header = self.header
        try:
            decoder = build_decoder(header.decoder, header.decoder_config, shape, self._base)
        except TypeError as error:
            raise InvalidStream(f"decoder {header.decoder} has no decode file") from error
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
        segment = decode_segment(
            payload, self.specs_of, self.limits, clips=range(first, last), coding=self.coding
        )
        renderer = Renderer(self, segment.clips)
        for clip in range(first, last):
            offset = clip_starts[clip]
            times = range(max(start, offset), min(stop, clip_starts[clip + 1]))
            pictures = renderer.pictures(clip, [n - offset for n in times])
            for n, rgb_HWC in zip(times, pictures, strict=True):
                yield Frame(pts=segment.pts[n], rgb_HWC=rgb_HWC)


class Renderer:
    """Frames of the decoded clips of one segment; nearest frames of reference clips are kept."""

    def __init__(self, decoders: SegmentDecoder, clips: Sequence[ClipSymbols]) -> None:
        self._decoders, self._clips = decoders, clips
        self._nearest: dict[tuple[int, int], Tensor] = {}
        self._bound = functools.lru_cache(maxsize=2)(self._bind)

    def pictures(self, number: int, times: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        """8-bit frames of a clip at the given times."""
        for frames_NCHW in self._rendered(number, times):
            yield from to_uint8(frames_NCHW).numpy()

    def rendered(self, number: int) -> Tensor:
        """All frames of a clip, ``(T, 3, H, W)`` in [0, 1]."""
        return torch.cat(list(self._rendered(number, range(self._clips[number].num_frames))))

    def _rendered(self, number: int, times: Sequence[int]) -> Iterator[Tensor]:
        device = self._decoders.device
        decoder = self._decoders.decoder_of(self._clips[number].num_frames)
        render = self._bound(number)
        # On a CPU, what lies between two layers of one frame just fits into the cache.
        fitting = 1 if device.type == "cpu" else BATCH_BYTES // decoder.activation_bytes()
        all_times = torch.tensor(times, dtype=torch.float32, device=device)
        for times_N in torch.split(all_times, max(1, min(8, fitting))):
            with torch.inference_mode():
                frames_NCHW = render(times_N)
            yield frames_NCHW

    def _bind(self, number: int) -> Callable[[Tensor], Tensor]:
        """The network of a clip; the last two are kept, as neighbours ask for each other."""
        clip = self._clips[number]
        decoder = self._decoders.decoder_of(clip.num_frames)
        weights = dequantize(
            decoder.weight_specs(), clip.symbols, clip.step_indices, self._decoders.device
        )
        if decoder.departs_from_reference and clip.reference is not None:
            weights["reference"] = self.nearest(Step(clip=number, reference=clip.reference))
        with torch.inference_mode():
            return decoder.bind(weights)

    def nearest(self, step: Step) -> Tensor:
        """What a clip departs from: the frame of its reference clip that is next to it.

        Raises:
            ValueError: the step has no reference.
        """
        if step.reference is None:
            raise ValueError(f"clip {step.clip} has no reference")
        frame, _ = nearest_frame(step, self._clips[step.reference].num_frames)
        key = (step.reference, frame)
        if key not in self._nearest:
            (rendered,) = self._rendered(step.reference, [frame])
            self._nearest[key] = rendered[0]
        return self._nearest[key]


def _fitting_decode_file(header: StreamHeader) -> DecodeFile:
    found = find_decode_file(header.decode_file.hex())
    if config_to_fields(found.config) != header.decoder_config:
        raise InvalidStream("the stream and its decode file disagree about the decoder's sizes")
    return found


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
