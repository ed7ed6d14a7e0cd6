"""A segment payload: timing, and quantisation steps and coded weights of each clip.

A segment is self-contained. A clip is coded on its own (a key clip) or against one other clip,
before or after it. Each clip is a range coder stream of its own, so a reader decodes only the clips
it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Protocol, TypeVar

from hypernet.bitstream.limits import DEFAULT_LIMITS, Limits, check_limit
from hypernet.bitstream.steps import NUM_STEPS
from hypernet.bitstream.varint import HeadReader, pack_varint, pack_zigzag
from hypernet.bitstream.weights import WeightSymbols, decode_weights, encode_weights
from hypernet.errors import EncodeFailed, InvalidStream
from hypernet.weights import WeightSpec

SpecsOf = Callable[[int], Sequence[WeightSpec]]
"""Specs of a clip with the given number of frames. Names are the same for every number."""

Clip = TypeVar("Clip")


class EachClip(Protocol):
    """``map``, or that of an executor."""

    def __call__(
        self, function: Callable[[Clip], bytes], clips: Iterable[Clip], /
    ) -> Iterable[bytes]:
        """What the function returns for each clip, in their order."""
        ...


class WeightCoding(Protocol):
    """How the integers of one clip become bytes, given those of its reference clip."""

    def encode(
        self,
        symbols: WeightSymbols,
        specs: Sequence[WeightSpec],
        step_indices: Sequence[int],
        reference: WeightSymbols | None,
    ) -> bytes:
        """The bytes of a clip."""
        ...

    def decode(
        self,
        data: bytes,
        specs: Sequence[WeightSpec],
        step_indices: Sequence[int],
        reference: WeightSymbols | None,
    ) -> WeightSymbols:
        """What was encoded.

        Raises:
            InvalidStream: the data cannot come from an encoder.
        """
        ...


class TableCoding:
    """With a table per tensor row that the clip names; needs nothing but the stream."""

    def encode(
        self,
        symbols: WeightSymbols,
        specs: Sequence[WeightSpec],
        step_indices: Sequence[int],  # noqa: ARG002 - tables adapt to any step
        reference: WeightSymbols | None,
    ) -> bytes:
        """See ``WeightCoding``."""
        return encode_weights(symbols, specs, reference)

    def decode(
        self,
        data: bytes,
        specs: Sequence[WeightSpec],
        step_indices: Sequence[int],  # noqa: ARG002 - tables adapt to any step
        reference: WeightSymbols | None,
    ) -> WeightSymbols:
        """See ``WeightCoding``."""
        return decode_weights(data, specs, reference)


TABLE_CODING = TableCoding()
MAX_PTS = 1 << 61
MAX_REFINEMENT_STEPS = (1 << 32) - 1
MAX_CHAIN = 128
"""Clips that have to be decoded for one, itself included."""
VALUES_PER_BYTE = 1 << 16
"""No table codes more values in a byte, so a payload that is shorter cannot be honest."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClipSymbols:
    """One clip: its frames, the clip it is coded against, its weights as integers.

    Attributes:
        num_frames: frames rendered by these weights.
        reference: number of another clip of the segment, None if coded on its own.
        step_indices: quantisation step of each tensor, see ``step_size``.
        symbols: int32 per tensor, by name. Empty for a clip that a decoder was not asked for.
    """

    num_frames: int
    reference: int | None = None
    step_indices: tuple[int, ...]
    symbols: WeightSymbols = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SegmentSymbols:
    """A segment as integers.

    Attributes:
        pts: presentation time of every frame, in the stream's time base, strictly increasing.
        refinement_steps: gradient steps that the encoder spent on the segment.
        clips: in frame order.
    """

    pts: tuple[int, ...]
    refinement_steps: int = 0
    clips: tuple[ClipSymbols, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentTiming:
    """What a segment says without its weights: pts of every frame, frames of every clip."""

    pts: tuple[int, ...]
    clip_frames: tuple[int, ...]
    refinement_steps: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _ClipHead:
    num_frames: int
    reference: int | None
    payload_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Head:
    pts: tuple[int, ...]
    refinement_steps: int
    step_indices: tuple[tuple[int, ...], ...]
    clips: tuple[_ClipHead, ...]


def encode_segment(
    segment: SegmentSymbols,
    specs_of: SpecsOf,
    coding: WeightCoding = TABLE_CODING,
    *,
    each: EachClip = map,
) -> bytes:
    """The payload of a segment. Equal segments give equal bytes.

    Args:
        segment: what is to be coded.
        specs_of: what is sent for a clip of so many frames.
        coding: of the weights.
        each: calls a function for every clip, in any order; ``map`` does it one by one.

    Raises:
        EncodeFailed: a symbol or a timestamp is too large, or timestamps do not increase.
        ValueError: the parts of the segment contradict each other or the specs.
    """
    _check_segment(segment)

    def coded(clip: ClipSymbols) -> bytes:
        specs = specs_of(clip.num_frames)
        if len(specs) != len(clip.step_indices):
            raise ValueError(f"{len(clip.step_indices)} step indices for {len(specs)} tensors")
        reference = None if clip.reference is None else segment.clips[clip.reference].symbols
        return coding.encode(clip.symbols, specs, clip.step_indices, reference)

    payloads = list(each(coded, segment.clips))
    return _pack_head(segment, payloads) + b"".join(payloads)


def decode_segment(
    payload: bytes,
    specs_of: SpecsOf,
    limits: Limits = DEFAULT_LIMITS,
    *,
    clips: Iterable[int] | None = None,
    coding: WeightCoding = TABLE_CODING,
) -> SegmentSymbols:
    """Decode a segment, or only some clips of it.

    Args:
        payload: what :func:`encode_segment` returned.
        specs_of: as for encoding.
        limits: bounds on what is decoded.
        clips: numbers of the clips to decode, together with those they are coded against; None
            decodes all. The others come back without symbols.
        coding: of the weights; what the stream was written with.

    Raises:
        InvalidStream: damaged, or over the limits.
        IndexError: there is no clip of a given number.
    """
    head, start = _unpack_head(payload, limits)
    needed = _with_references(head, range(len(head.clips)) if clips is None else clips)
    specs_by_frames = {n: specs_of(n) for n in {head.clips[i].num_frames for i in needed}}
    _check_work(head, needed, specs_by_frames, limits)
    ends = [start, *(start + n for n in accumulate(clip.payload_bytes for clip in head.clips))]
    decoded: dict[int, WeightSymbols] = {}
    for number in needed:
        clip = head.clips[number]
        reference = None if clip.reference is None else decoded[clip.reference]
        specs = specs_by_frames[clip.num_frames]
        data = payload[ends[number] : ends[number + 1]]
        decoded[number] = coding.decode(data, specs, head.step_indices[number], reference)
    return SegmentSymbols(
        pts=head.pts,
        refinement_steps=head.refinement_steps,
        clips=tuple(
            ClipSymbols(
                num_frames=clip.num_frames,
                reference=clip.reference,
                step_indices=head.step_indices[number],
                symbols=decoded.get(number, {}),
            )
            for number, clip in enumerate(head.clips)
        ),
    )


def read_segment_timing(payload: bytes, limits: Limits = DEFAULT_LIMITS) -> SegmentTiming:
    """Timing of a segment without decoding any weights.

    Raises:
        InvalidStream: the head is damaged or over the limits.
    """
    head, _ = _unpack_head(payload, limits)
    return SegmentTiming(
        pts=head.pts,
        clip_frames=tuple(clip.num_frames for clip in head.clips),
        refinement_steps=head.refinement_steps,
    )


def _check_segment(segment: SegmentSymbols) -> None:
    num_frames = sum(clip.num_frames for clip in segment.clips)
    if not segment.clips or len(segment.pts) != num_frames:
        raise ValueError(f"{len(segment.pts)} timestamps for {num_frames} frames")
    if any(later <= earlier for earlier, later in zip(segment.pts, segment.pts[1:], strict=False)):
        raise EncodeFailed("timestamps do not increase strictly")
    if max(abs(segment.pts[0]), abs(segment.pts[-1])) > MAX_PTS:
        raise EncodeFailed(f"a timestamp is beyond {MAX_PTS}")
    if any(not 0 <= i < NUM_STEPS for clip in segment.clips for i in clip.step_indices):
        raise ValueError(f"a step index is not in 0..{NUM_STEPS - 1}")
    for number, clip in enumerate(segment.clips):
        if clip.reference is not None and not 0 <= clip.reference < len(segment.clips):
            raise ValueError(f"clip {number} refers to clip {clip.reference}")
    _coding_order([clip.reference for clip in segment.clips], range(len(segment.clips)))


def _pack_head(segment: SegmentSymbols, payloads: Sequence[bytes]) -> bytes:
    parts = [pack_varint(len(segment.clips))]
    for number, (clip, payload) in enumerate(zip(segment.clips, payloads, strict=True)):
        distance = 0 if clip.reference is None else number - clip.reference
        parts += [pack_varint(clip.num_frames), pack_zigzag(distance), pack_varint(len(payload))]
    num_tensors = len(segment.clips[0].step_indices)
    parts += [pack_varint(segment.refinement_steps), pack_varint(num_tensors)]
    parts += [bytes(clip.step_indices) for clip in segment.clips]
    deltas = [b - a for a, b in zip(segment.pts, segment.pts[1:], strict=False)]
    constant = len(set(deltas)) <= 1
    parts += [pack_zigzag(segment.pts[0]), pack_varint(int(constant))]
    parts += map(pack_varint, deltas[:1] if constant else deltas)
    return b"".join(parts)


def _unpack_head(payload: bytes, limits: Limits) -> tuple[_Head, int]:
    reader = HeadReader(payload)
    num_clips = reader.varint(
        "the number of clips", minimum=1, maximum=limits.max_clips_per_segment
    )
    clips = tuple(
        _unpack_clip_head(reader, number, num_clips, limits) for number in range(num_clips)
    )
    num_frames = sum(clip.num_frames for clip in clips)
    check_limit("frames of a segment", num_frames, limits.max_frames_per_segment)
    steps = reader.varint("refinement steps", maximum=MAX_REFINEMENT_STEPS)
    num_tensors = reader.varint("the number of tensors", maximum=limits.max_tensors_per_clip)
    step_indices = tuple(tuple(reader.take("the step indices", num_tensors)) for _ in clips)
    pts = _unpack_timing(reader, num_frames)
    if reader.position + sum(clip.payload_bytes for clip in clips) != len(payload):
        raise InvalidStream("the clips do not fill the segment exactly")
    head = _Head(pts=pts, refinement_steps=steps, step_indices=step_indices, clips=clips)
    return head, reader.position


def _unpack_clip_head(reader: HeadReader, number: int, num_clips: int, limits: Limits) -> _ClipHead:
    num_frames = reader.varint("frames of a clip", minimum=1, maximum=limits.max_frames_per_segment)
    distance = reader.zigzag("the distance to the reference clip")
    if not 0 <= number - distance < num_clips:
        raise InvalidStream(f"clip {number} of {num_clips} refers to clip {number - distance}")
    return _ClipHead(
        num_frames=num_frames,
        reference=number - distance if distance else None,
        payload_bytes=reader.varint("clip length", maximum=limits.max_segment_bytes),
    )


def _unpack_timing(reader: HeadReader, num_frames: int) -> tuple[int, ...]:
    first = reader.zigzag("the first timestamp")
    constant = reader.varint("the kind of timing", maximum=1)
    num_deltas = num_frames - 1
    stored = min(num_deltas, 1) if constant else num_deltas
    deltas = [
        reader.varint("a frame duration", minimum=1, maximum=2 * MAX_PTS) for _ in range(stored)
    ]
    if constant:
        deltas *= num_deltas
    pts = [first]
    for delta in deltas:
        pts.append(pts[-1] + delta)
    if max(abs(pts[0]), abs(pts[-1])) > MAX_PTS:
        raise InvalidStream(f"a timestamp is beyond {MAX_PTS}")
    return tuple(pts)


def _with_references(head: _Head, clips: Iterable[int]) -> list[int]:
    wanted = list(clips)
    for number in wanted:
        if not 0 <= number < len(head.clips):
            raise IndexError(f"clip {number} of {len(head.clips)}")
    return _coding_order([clip.reference for clip in head.clips], wanted)


def _coding_order(references: Sequence[int | None], clips: Iterable[int]) -> list[int]:
    """These clips and all they need, references first.

    Raises:
        InvalidStream: clips refer to each other in a circle, or in too long a chain.
    """
    depths: dict[int, int] = {}
    for number in clips:
        chain: dict[int, None] = {}
        current: int | None = number
        while current is not None and current not in depths:
            if current in chain:
                raise InvalidStream(f"clip {current} needs itself to be decoded")
            chain[current] = None
            current = references[current]
        below = 0 if current is None else depths[current]
        depths |= {link: below + i for i, link in enumerate(reversed(chain), start=1)}
        if depths[number] > MAX_CHAIN:
            raise InvalidStream(f"clip {number} needs more than {MAX_CHAIN - 1} others")
    return list(depths)


def _check_work(
    head: _Head,
    needed: Sequence[int],
    specs_by_frames: Mapping[int, Sequence[WeightSpec]],
    limits: Limits,
) -> None:
    """Refuse before decoding what would take more memory or time than its bytes allow."""
    total = 0
    for number in needed:
        clip = head.clips[number]
        specs = specs_by_frames[clip.num_frames]
        num_steps = len(head.step_indices[number])
        if len(specs) != num_steps:
            raise InvalidStream(f"{num_steps} step indices for {len(specs)} tensors")
        values = sum(spec.size for spec in specs)
        check_limit("weight values of a clip", values, limits.max_values_per_clip)
        if values > VALUES_PER_BYTE * (clip.payload_bytes + 1):
            raise InvalidStream(f"{values} weight values cannot be in {clip.payload_bytes} bytes")
        total += values
    check_limit("weight values of a segment", total, limits.max_values_per_segment)
