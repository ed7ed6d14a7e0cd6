"""Entropy-decoded frames that wait to be rendered, in a form that may pass between processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypernet.bitstream.header import StreamHeader
from hypernet.bitstream.segment import ClipSymbols, decode_segment, read_segment_timing
from hypernet.segment_decoder import SegmentDecoder, clip_places

SPARSE_SHARE = 0.25
"""Tensors with fewer values than this that are not zero are passed on as places and values."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PackedIntegers:
    """An int32 tensor; ``places`` in the flat tensor are given where most values are zero."""

    shape: tuple[int, ...]
    values: NDArray[np.int32]
    places: NDArray[np.int32] | None = None

    @classmethod
    def pack(cls, symbols: NDArray[np.int32]) -> PackedIntegers:
        """As few bytes as it takes."""
        flat = symbols.ravel()
        places = np.flatnonzero(flat)
        if len(places) > SPARSE_SHARE * flat.size:
            return cls(shape=symbols.shape, values=flat)
        return cls(shape=symbols.shape, values=flat[places], places=places.astype(np.int32))

    def unpack(self, scale: float, device: torch.device) -> Tensor:
        """The integers times ``scale``, float32, on a device."""
        values = torch.from_numpy(self.values).to(device).float() * scale
        if self.places is None:
            return values.view(self.shape)
        flat = torch.zeros(int(np.prod(self.shape)), device=device)
        flat[torch.from_numpy(self.places).to(device).long()] = values
        return flat.view(self.shape)


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
