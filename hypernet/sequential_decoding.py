"""Frames of one stream in order, as many threads at work as the device gains from."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from hypernet.bitstream.segment import (
    SegmentSymbols,
    SegmentTiming,
    decode_segment,
    read_segment_timing,
)
from hypernet.decoders.spectrum import CLIP_FRAMES
from hypernet.one_thread_each import clips_at_once, in_order, one_thread_each
from hypernet.parallel_decoding import FrameRenderer, decode_symbols, gains_from_batches
from hypernet.rendering import BATCH_BYTES, Renderer
from hypernet.segment_decoder import SegmentDecoder, clip_places
from hypernet.video.reader import Frame


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentPart:
    """Frames of one segment that are wanted, by their numbers in it."""

    payload: bytes
    timing: SegmentTiming
    frames: range


def segment_frames(
    segments: SegmentDecoder, payload: bytes, start: int = 0, stop: int | None = None
) -> Iterator[Frame]:
    """Frames ``start <= n < stop`` of a segment; only the clips that hold them are decoded.

    Raises:
        InvalidStream: the payload is damaged.
    """
    timing = read_segment_timing(payload, segments.limits)
    frames = range(len(timing.pts))[start:stop]
    part = SegmentPart(payload=payload, timing=timing, frames=frames)
    yield from decoded_frames(segments, [lambda: part], len(frames))


def decoded_frames(
    segments: SegmentDecoder, parts: Iterable[Callable[[], SegmentPart]], num_frames: int
) -> Iterator[Frame]:
    """The frames of all parts, in order.

    Args:
        segments: of the stream.
        parts: what reads each of them; called in a thread, one ahead of what is decoded.
        num_frames: of all parts together; for few of them no threads are started.

    Raises:
        InvalidStream: a payload is damaged; what comes before it was handed out.
    """
    if gains_from_batches(segments):
        yield from itertools.chain.from_iterable(_together(segments, read()) for read in parts)
        return
    at_once = clips_at_once(segments.device, segments.header.height, segments.header.width)
    if at_once > 1 and num_frames > CLIP_FRAMES:
        yield from _in_threads(segments, parts, at_once)
        return
    for read in parts:
        for few_frames in _few_at_a_time(segments, *_with_symbols(segments, read)):
            yield from few_frames


def _together(segments: SegmentDecoder, part: SegmentPart) -> Iterator[Frame]:
    """As many frames at once as fit."""
    renderer = FrameRenderer(segments.device)
    at_once = max(1, BATCH_BYTES // (3 * segments.header.height * segments.header.width))
    for start in range(0, len(part.frames), at_once):
        numbers = part.frames[start : start + at_once]
        (frames_NCHW,) = renderer.render([decode_symbols(segments, part.payload, numbers)])
        frames_NHWC = frames_NCHW.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        for number, rgb_HWC in zip(numbers, frames_NHWC, strict=True):
            yield Frame(pts=part.timing.pts[number], rgb_HWC=rgb_HWC)


def _in_threads(
    segments: SegmentDecoder, parts: Iterable[Callable[[], SegmentPart]], at_once: int
) -> Iterator[Frame]:
    """A few frames in each thread, and the symbols of the next segment ahead of them."""
    with one_thread_each(at_once) as pool:
        reads = (functools.partial(_with_symbols, segments, read) for read in parts)
        frames = (
            few_frames
            for part, symbols in in_order(pool, reads, 1)
            for few_frames in _few_at_a_time(segments, part, symbols, at_once)
        )
        lists = (functools.partial(_all, few_frames) for few_frames in frames)
        for few_frames in in_order(pool, lists, at_once):
            yield from few_frames


def _all(frames: Iterator[Frame]) -> list[Frame]:
    return list(frames)


def _with_symbols(
    segments: SegmentDecoder, read: Callable[[], SegmentPart]
) -> tuple[SegmentPart, SegmentSymbols]:
    part = read()
    clips = {clip for clip, _ in clip_places(part.timing.clip_frames, part.frames)}
    symbols = decode_segment(
        part.payload, segments.specs_of, segments.limits, clips=clips, coding=segments.coding
    )
    return part, symbols


def _few_at_a_time(
    segments: SegmentDecoder, part: SegmentPart, symbols: SegmentSymbols, at_once: int = 1
) -> Iterator[Iterator[Frame]]:
    """Frames of one clip each, and no more than 8 of them."""
    # Those of the clips in the middle, which all others depart from, are needed twice.
    several = at_once > 1
    renderer = Renderer(
        segments,
        symbols.clips,
        keep=at_once + 2 if several else 1,
        show_references=several,
    )
    pts = iter(part.timing.pts[part.frames.start : part.frames.stop])
    places = clip_places(part.timing.clip_frames, part.frames)
    for clip, group in itertools.groupby(places, key=itemgetter(0)):
        while times := [time for _, time in itertools.islice(group, CLIP_FRAMES)]:
            pts_of_few = tuple(itertools.islice(pts, len(times)))
            yield map(_frame, pts_of_few, renderer.pictures(clip, times))


def _frame(pts: int, rgb_HWC: NDArray[np.uint8]) -> Frame:
    return Frame(pts=pts, rgb_HWC=rgb_HWC)
