"""What decodes the segments of one stream: its decoders, its coding, its limits."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from hypernet.bitstream.header import NO_DECODE_FILE, StreamHeader
from hypernet.bitstream.limits import DEFAULT_LIMITS, Limits, check_limit
from hypernet.bitstream.segment import TABLE_CODING, WeightCoding
from hypernet.decoders import Decoder, build_decoder, check_known, config_to_fields
from hypernet.decoders.decode_file import DecodeFile, find_decode_file
from hypernet.errors import InvalidStream
from hypernet.weights import ClipShape, WeightSpec

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
        check_known(header.decoder)
        if header.decode_file != NO_DECODE_FILE:
            decode_file = _fitting_decode_file(header)
            self.coding = decode_file.coding
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


def clip_places(clip_frames: Sequence[int], frames: Iterable[int]) -> list[tuple[int, int]]:
    """For each frame of a segment: its clip, and which frame of the clip it is.

    Args:
        clip_frames: frames of every clip.
        frames: numbers within the segment.

    Raises:
        IndexError: there is no such frame.
    """
    starts = [0, *accumulate(clip_frames)]
    places = []
    for number in frames:
        if not 0 <= number < starts[-1]:
            raise IndexError(f"frame {number} of a segment of {starts[-1]}")
        clip = bisect.bisect_right(starts, number) - 1
        places.append((clip, number - starts[clip]))
    return places


def _fitting_decode_file(header: StreamHeader) -> DecodeFile:
    found = find_decode_file(header.decode_file.hex())
    if config_to_fields(found.config) != header.decoder_config:
        raise InvalidStream("the stream and its decode file disagree about the decoder's sizes")
    return found
