"""From clips that are asked for to what must be rendered, and from that to clips.

Entropy decoding and rendering are two steps, so that they can happen in two processes. Frames of
one segment that several clips of a batch ask for are decoded once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hypernet.errors import InvalidStream
from hypernet.loading.stream_pool import StreamPool
from hypernet.parallel_decoding import Crop, FrameRenderer, PendingFrames, decode_symbols


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipRequest:
    """Frames of one stream, by number, in the order they are wanted."""

    stream: int
    frames: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PendingClips:
    """Clips whose symbols are decoded; numpy only, may pass between processes.

    Attributes:
        segments: what is to be rendered, each segment once.
        picks: for every clip, for every frame: which of ``segments``, and which of its frames.
    """

    segments: tuple[PendingFrames, ...]
    picks: tuple[tuple[tuple[int, int], ...], ...]


def read_pending(pool: StreamPool, requests: Sequence[ClipRequest]) -> PendingClips:
    """Read and entropy-decode what these clips need, and nothing else.

    Raises:
        DamagedStream: one of the streams is damaged.
        UnreadableInput: one cannot be read at all, or its decode file is missing.
    """
    wanted: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    places: list[list[tuple[tuple[int, int], int]]] = []
    for request in requests:
        index = pool.stream(request.stream).reader.index
        place = []
        for frame in request.frames:
            number = index.segment_of(frame)
            within = frame - index.segments[number].first_frame
            wanted[request.stream, number].add(within)
            place.append(((request.stream, number), within))
        places.append(place)
    order = {key: position for position, key in enumerate(wanted)}
    sorted_frames = {key: sorted(frames) for key, frames in wanted.items()}
    rank = {key: {n: i for i, n in enumerate(frames)} for key, frames in sorted_frames.items()}
    return PendingClips(
        segments=tuple(
            _pending_segment(pool, *key, frames) for key, frames in sorted_frames.items()
        ),
        picks=tuple(tuple((order[key], rank[key][n]) for key, n in place) for place in places),
    )


def render_clips(
    renderer: FrameRenderer,
    pending: PendingClips,
    *,
    crop: Crop | None = None,
    size: tuple[int, int] | None = None,
) -> list[Tensor]:
    """Every clip as ``(T, 3, H, W)`` uint8 on the renderer's device."""
    rendered = renderer.render(pending.segments, crop=crop, size=size)
    return [_picked(rendered, picks) for picks in pending.picks]


def _pending_segment(
    pool: StreamPool, stream: int, segment: int, frames: Sequence[int]
) -> PendingFrames:
    opened = pool.stream(stream)
    try:
        return decode_symbols(opened.segments, opened.reader.segment(segment), frames)
    except IndexError as error:
        few = InvalidStream(f"segment {segment} holds fewer frames than the index says")
        raise pool.damaged(stream, few) from error
    except InvalidStream as error:
        raise pool.damaged(stream, error) from error


def _picked(rendered: Sequence[Tensor], picks: Sequence[tuple[int, int]]) -> Tensor:
    first, start = picks[0]
    if all(pick == (first, start + n) for n, pick in enumerate(picks)):
        return rendered[first][start : start + len(picks)]  # a view: nearly every clip
    return torch.stack([rendered[segment][frame] for segment, frame in picks])
