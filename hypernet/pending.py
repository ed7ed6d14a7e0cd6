"""Entropy-decoded frames that wait to be rendered, in a form that may pass between processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypernet.bitstream.header import StreamHeader
from hypernet.bitstream.segment import ClipSymbols, decode_segment, read_segment_timing
from hypernet.packed_integers import PackedIntegers
from hypernet.segment_decoder import SegmentDecoder, clip_places


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PendingFrames:
    """Frames of one segment whose symbols are decoded; plain data, may pass between processes.

    Attributes:
        header: of the stream.
        clips: of the segment; only those that the frames need have symbols.
        symbols: of those, by clip number and tensor name.
        frames: numbers within the segment, in the order in which they are wanted.
    """

    header: StreamHeader
    clips: tuple[ClipSymbols, ...]
    symbols: dict[int, dict[str, PackedIntegers]]
    frames: tuple[int, ...]


def decode_symbols(
    segments: SegmentDecoder, payload: bytes, frames: Sequence[int]
) -> PendingFrames:
    """Entropy decoding: the integers of the clips that hold the frames, and of their references.

    Args:
        segments: of the stream.
        payload: of the segment.
        frames: numbers within the segment, in any order.

    Raises:
        InvalidStream: the payload is damaged.
        IndexError: there is no such frame.
    """
    timing = read_segment_timing(payload, segments.limits)
    needed = {clip for clip, _ in clip_places(timing.clip_frames, frames)}
    decoded = decode_segment(
        payload, segments.specs_of, segments.limits, clips=needed, coding=segments.coding
    )
    packed = {
        number: {name: PackedIntegers.pack(values) for name, values in clip.symbols.items()}
        for number, clip in enumerate(decoded.clips)
        if clip.symbols
    }
    return PendingFrames(
        header=segments.header,
        clips=tuple(replace(clip, symbols={}) for clip in decoded.clips),
        symbols=packed,
        frames=tuple(frames),
    )
