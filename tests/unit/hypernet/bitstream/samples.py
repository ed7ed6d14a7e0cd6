"""Small streams made from seeded random symbols, for tests of the bitstream."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypernet.bitstream.header import StreamHeader
from hypernet.bitstream.segment import ClipSymbols, SegmentSymbols, encode_segment
from hypernet.bitstream.writer import SegmentPayload, write_stream
from hypernet.weights import WeightSpec


def sample_header(**changes: Any) -> StreamHeader:
    fields: dict[str, Any] = {
        "width": 854,
        "height": 480,
        "num_frames": 22,
        "time_base_num": 1,
        "time_base_den": 90_000,
        "colour_primaries": 1,
        "colour_transfer": 1,
        "colour_matrix": 1,
        "full_range": False,
        "bit_depth": 8,
        "decoder": 7,
        "decoder_config": (3, 1, 4),
    }
    return StreamHeader(**(fields | changes))


def sample_specs(num_frames: int) -> tuple[WeightSpec, ...]:
    """A stem, a grid that depends on the clip's length, a convolution, a bias."""
    shapes = {
        "stem": (24, 6),
        "grid": (8, num_frames, 3, 5),
        "convolution": (16, 8, 3, 3),
        "bias": (16,),
    }
    return tuple(WeightSpec(name=name, shape=shape, init_std=0.1) for name, shape in shapes.items())


def sample_weights(rng: np.random.Generator, num_frames: int) -> dict[str, NDArray[np.int32]]:
    """Laplace values whose scale differs from row to row, with a few outliers."""
    weights = {}
    for spec in sample_specs(num_frames):
        row_scales = 4.0 * 2.0 ** rng.normal(0, 0.8, (spec.rows,) + (1,) * (len(spec.shape) - 1))
        values = np.rint(rng.laplace(0, 1, spec.shape) * row_scales)
        values[rng.random(spec.shape) < 0.002] *= 4000
        weights[spec.name] = values.astype(np.int32)
    return weights


def sample_segment(seed: int, clip_frames: tuple[int, ...] = (8, 8, 6)) -> SegmentSymbols:
    """A key clip, then clips that differ little from the one before."""
    rng = np.random.default_rng(seed)
    clips: list[ClipSymbols] = []
    for number, frames in enumerate(clip_frames):
        weights = sample_weights(rng, frames)
        if number:
            for name, before in clips[-1].symbols.items():
                if weights[name].shape == before.shape:
                    change = rng.integers(-1, 2, before.shape) * (rng.random(before.shape) < 0.1)
                    weights[name] = (before + change).astype(np.int32)
        clips.append(
            ClipSymbols(
                num_frames=frames,
                reference=number - 1 if number else None,
                step_indices=tuple(map(int, rng.integers(0, 256, len(sample_specs(1))))),
                symbols=weights,
            )
        )
    first = int(rng.integers(-1000, 1000))
    durations = rng.integers(2900, 3100, sum(clip_frames)) if seed % 2 else 3003
    pts = first + np.cumsum(np.broadcast_to(durations, sum(clip_frames)))
    return SegmentSymbols(
        pts=tuple(map(int, pts)),
        refinement_steps=seed,
        clips=tuple(clips),
    )


def assert_same_symbols(left: SegmentSymbols, right: SegmentSymbols) -> None:
    assert left.pts == right.pts
    assert left.refinement_steps == right.refinement_steps
    for one, other in zip(left.clips, right.clips, strict=True):
        assert (one.num_frames, one.reference) == (other.num_frames, other.reference)
        assert one.step_indices == other.step_indices
        assert list(one.symbols) == list(other.symbols)
        for name, symbols in one.symbols.items():
            np.testing.assert_array_equal(symbols, other.symbols[name], strict=True)


def write_sample(
    segments: list[SegmentSymbols],
    *,
    audio: bytes | None = None,
    metadata: dict[str, Any] | None = None,
) -> bytes:
    """A whole stream of the given segments, one after the other in time."""
    payloads = []
    frame, shift = 0, 0
    for segment in segments:
        pts = tuple(shift + time for time in segment.pts)
        moved = SegmentSymbols(
            pts=pts,
            refinement_steps=segment.refinement_steps,
            clips=segment.clips,
        )
        payloads.append(
            SegmentPayload(
                first_frame=frame,
                num_frames=len(pts),
                first_pts=pts[0],
                payload=encode_segment(moved, sample_specs),
            )
        )
        frame += len(pts)
        shift = pts[-1] + 100_000
    output = io.BytesIO()
    write_stream(output, sample_header(num_frames=frame), payloads, audio=audio, metadata=metadata)
    return output.getvalue()
