from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypernet.bitstream.entropy import MAX_MAGNITUDE
from hypernet.bitstream.limits import Limits
from hypernet.bitstream.segment import (
    MAX_PTS,
    ClipSymbols,
    SegmentSymbols,
    decode_segment,
    encode_segment,
    read_segment_timing,
)
from hypernet.bitstream.varint import MAX_VARINT, HeadReader, pack_varint, pack_zigzag
from hypernet.errors import EncodeFailed, InvalidStream
from hypernet.weights import WeightSpec
from tests.unit.hypernet.bitstream.samples import (
    assert_same_symbols,
    sample_segment,
    sample_specs,
    sample_weights,
)


def one_value(num_frames: int) -> tuple[WeightSpec, ...]:
    return (WeightSpec(name="w", shape=(1, num_frames), init_std=1.0),)


def tiny_segment(step_indices: tuple[int, ...] = (9,), **changes: Any) -> SegmentSymbols:
    """Three clips of 2, 2 and 1 frames, one tensor each."""
    clips = tuple(
        ClipSymbols(
            num_frames=frames,
            reference=reference,
            step_indices=step_indices,
            symbols={"w": np.arange(frames, dtype=np.int32)[None]},
        )
        for frames, reference in ((2, None), (2, 0), (1, 0))
    )
    fields: dict[str, Any] = {"pts": (0, 3, 6, 9, 12), "clips": clips}
    return SegmentSymbols(**(fields | changes))


def tiny_payload(**changes: Any) -> bytes:
    return encode_segment(tiny_segment(**changes), one_value)


def test_clips_may_be_coded_at_once() -> None:
    with ThreadPoolExecutor(2) as pool:
        assert encode_segment(tiny_segment(), one_value, each=pool.map) == tiny_payload()


@pytest.mark.parametrize("seed", range(4))
def test_everything_comes_back(seed: int) -> None:
    segment = sample_segment(seed)
    payload = encode_segment(segment, sample_specs)
    assert_same_symbols(decode_segment(payload, sample_specs), segment)
    assert encode_segment(segment, sample_specs) == payload


def test_clips_coded_against_earlier_ones_are_smaller() -> None:
    segment = sample_segment(0)
    alone = dataclasses.replace(
        segment, clips=tuple(dataclasses.replace(clip, reference=None) for clip in segment.clips)
    )
    assert len(encode_segment(segment, sample_specs)) < 0.7 * len(
        encode_segment(alone, sample_specs)
    )


@pytest.mark.parametrize(
    ("wanted", "decoded"),
    [
        ([0], {0}),
        ([1], {0, 1}),
        ([2], {0, 2}),
        ([2, 1], {0, 1, 2}),
        ([], set()),
        (range(3), {0, 1, 2}),
    ],
)
def test_only_the_clips_asked_for_and_their_references_are_decoded(
    wanted: list[int], decoded: set[int]
) -> None:
    segment = decode_segment(tiny_payload(), one_value, clips=wanted)
    assert {i for i, clip in enumerate(segment.clips) if clip.symbols} == decoded
    assert [clip.num_frames for clip in segment.clips] == [2, 2, 1]


def test_a_damaged_clip_does_not_disturb_others() -> None:
    segment = sample_segment(1, clip_frames=(8, 8))
    alone = dataclasses.replace(
        segment, clips=tuple(dataclasses.replace(clip, reference=None) for clip in segment.clips)
    )
    payload = bytearray(encode_segment(alone, sample_specs))
    payload[-40:] = b"\xff" * 40
    first = decode_segment(bytes(payload), sample_specs, clips=[0]).clips[0]
    np.testing.assert_array_equal(first.symbols["grid"], alone.clips[0].symbols["grid"])


@pytest.mark.parametrize("clip", [-1, 3])
def test_a_clip_that_does_not_exist(clip: int) -> None:
    with pytest.raises(IndexError, match="of 3"):
        decode_segment(tiny_payload(), one_value, clips=[clip])


@given(
    st.integers(-MAX_PTS, MAX_PTS - 10**9),
    st.one_of(
        st.lists(st.integers(1, 10**8), max_size=9),
        st.tuples(st.integers(1, 10**8), st.integers(0, 9)).map(lambda pair: [pair[0]] * pair[1]),
    ),
)
@settings(max_examples=60, deadline=None)
def test_any_timing_comes_back(first: int, durations: list[int]) -> None:
    pts = tuple(first + sum(durations[:n]) for n in range(len(durations) + 1))
    clip = ClipSymbols(
        num_frames=len(pts), step_indices=(0,), symbols={"w": np.zeros((1, len(pts)), np.int32)}
    )
    payload = encode_segment(SegmentSymbols(pts=pts, clips=(clip,)), one_value)
    timing = read_segment_timing(payload)
    assert timing.pts == pts
    assert timing.clip_frames == (len(pts),)


def test_constant_timing_takes_no_more_bytes_for_more_frames() -> None:
    def head_bytes(num_frames: int) -> int:
        clip = ClipSymbols(
            num_frames=num_frames, step_indices=(0,), symbols={"w": np.zeros((1, 1), np.int32)}
        )
        pts = tuple(range(0, 40 * num_frames, 40))
        segment = SegmentSymbols(pts=pts, clips=(clip,))
        return len(encode_segment(segment, lambda _: one_value(1)))

    assert head_bytes(64) == head_bytes(2)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"pts": (0, 1, 2, 3)}, ValueError, "4 timestamps for 5 frames"),
        ({"pts": (), "clips": ()}, ValueError, "0 timestamps"),
        ({"pts": (0, 1, 2, 2, 3)}, EncodeFailed, "increase strictly"),
        ({"pts": (0, 1, 2, 3, MAX_PTS + 1)}, EncodeFailed, "beyond"),
        ({"pts": (-MAX_PTS - 1, 1, 2, 3, 4)}, EncodeFailed, "beyond"),
        ({"step_indices": (256,)}, ValueError, "not in 0..255"),
        ({"step_indices": (1, 2)}, ValueError, "2 step indices for 1 tensors"),
    ],
)
def test_segments_that_contradict_themselves_are_refused(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        tiny_payload(**changes)


@pytest.mark.parametrize("reference", [1, -1])
def test_references_are_clips_of_the_segment(reference: int) -> None:
    clip = dataclasses.replace(tiny_segment().clips[0], reference=reference)
    with pytest.raises(ValueError, match="clip 0 refers to"):
        tiny_payload(clips=(clip,), pts=(0, 1))


def test_a_clip_cannot_need_itself() -> None:
    clip = dataclasses.replace(tiny_segment().clips[0], reference=0)
    with pytest.raises(InvalidStream, match="needs itself"):
        tiny_payload(clips=(clip,), pts=(0, 1))


def test_a_clip_may_be_coded_against_a_later_one() -> None:
    first, second = tiny_segment().clips[0], tiny_segment().clips[0]
    clips = (dataclasses.replace(first, reference=1), second)
    payload = tiny_payload(clips=clips, pts=(0, 1, 2, 3))
    decoded = decode_segment(payload, one_value, clips=[0])
    assert decoded.clips[0].reference == 1
    np.testing.assert_array_equal(decoded.clips[0].symbols["w"], first.symbols["w"])
    assert decoded.clips[1].symbols


def test_too_large_a_symbol_is_refused() -> None:
    clip = ClipSymbols(
        num_frames=1, step_indices=(0,), symbols={"w": np.full((1, 1), MAX_MAGNITUDE + 1, np.int32)}
    )
    with pytest.raises(EncodeFailed, match="larger step"):
        tiny_payload(clips=(clip,), pts=(0,))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(max_clips_per_segment=2), "number of clips is 3"),
        (Limits(max_frames_per_segment=4), "frames of a segment is 5"),
        (Limits(max_frames_per_segment=1), "frames of a clip is 2"),
        (Limits(max_tensors_per_clip=0), "number of tensors is 1"),
        (Limits(max_segment_bytes=3), "clip length"),
        (Limits(max_values_per_clip=1), "values of a clip is 2"),
        (Limits(max_values_per_segment=4), "values of a segment is 5"),
    ],
)
def test_limits_are_kept(limits: Limits, message: str) -> None:
    with pytest.raises(InvalidStream, match=message):
        decode_segment(tiny_payload(), one_value, limits)


def test_every_truncation_is_refused() -> None:
    payload = tiny_payload()
    for length in range(len(payload)):
        with pytest.raises(InvalidStream):
            decode_segment(payload[:length], one_value)
    with pytest.raises(InvalidStream, match="fill the segment"):
        decode_segment(payload + b"\0", one_value)


def head(*fields: bytes | int) -> bytes:
    return b"".join(field if isinstance(field, bytes) else pack_varint(field) for field in fields)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (head(0), "number of clips is 0"),
        (head(1, 0), "frames of a clip is 0"),
        (head(1, 1, 1), "refers to clip 1"),
        (head(1, 1, 0, 0, 2**32), "refinement steps"),
        (head(1, 1, 0, 0, 0, 3, b"\1\2"), "ends inside the step indices"),
        (head(1, 1, 0, 0, 0, 0, pack_zigzag(0), 2), "kind of timing is 2"),
        (head(1, 2, 0, 0, 0, 0, pack_zigzag(0), 1, 0), "frame duration is 0"),
        (head(1, 3, 0, 0, 0, 0, pack_zigzag(0), 0, 5), "ends inside a frame duration"),
        (head(1, 1, 0, 0, 0, 0, pack_zigzag(MAX_PTS + 1), 1), "beyond"),
        (head(1, 9, 0, 0, 0, 0, pack_zigzag(0), 1, 2 * MAX_PTS), "beyond"),
        (head(1, 1, 0, 4, 0, 0, pack_zigzag(0), 1), "fill the segment"),
        (b"\x81\x00", "more bytes than needed"),
        (b"\x80" * 12, "ends inside the number of clips"),
        (head(1, 1, 0, 0, 0, 0, pack_zigzag(0), 1), "0 step indices for 1 tensors"),
    ],
)
def test_heads_that_make_no_sense_are_refused(payload: bytes, message: str) -> None:
    with pytest.raises(InvalidStream, match=message):
        decode_segment(payload, one_value)


def test_many_values_in_no_bytes_are_refused_before_they_are_allocated() -> None:
    payload = head(1, 1, 0, 0, 0, 1, b"\0", pack_zigzag(0), 1)
    huge = (WeightSpec(name="w", shape=(4096, 4096), init_std=1.0),)
    with pytest.raises(InvalidStream, match="16777216 weight values cannot be in 0 bytes"):
        decode_segment(payload, lambda _: huge)


def test_the_emptiest_honest_clip_is_accepted() -> None:
    huge = (WeightSpec(name="w", shape=(1024, 1024), init_std=1.0),)
    clip = ClipSymbols(
        num_frames=1, step_indices=(0,), symbols={"w": np.zeros((1024, 1024), np.int32)}
    )
    segment = SegmentSymbols(pts=(0,), clips=(clip,))
    payload = encode_segment(segment, lambda _: huge)
    assert_same_symbols(decode_segment(payload, lambda _: huge), segment)


def test_a_million_values_of_a_real_size() -> None:
    rng = np.random.default_rng(0)
    spec = WeightSpec(name="w", shape=(1000, 1000), init_std=1.0)
    scales = 5 * 2 ** rng.normal(0, 0.8, (1000, 1))
    values = np.rint(rng.laplace(0, 1, spec.shape) * scales).astype(np.int32)
    clip = ClipSymbols(num_frames=1, step_indices=(0,), symbols={"w": values})
    segment = SegmentSymbols(pts=(0,), clips=(clip,))
    assert_same_symbols(
        decode_segment(encode_segment(segment, lambda _: [spec]), lambda _: [spec]), segment
    )


@given(st.integers(-(2**62), 2**62 - 1))
def test_signed_integers_come_back(value: int) -> None:
    data = pack_zigzag(value)
    reader = HeadReader(data)
    assert reader.zigzag("x") == value
    assert reader.position == len(data)


@pytest.mark.parametrize("value", [-1, MAX_VARINT + 1])
def test_integers_that_do_not_fit_a_varint(value: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        pack_varint(value)


def test_weights_of_the_samples_have_outliers_that_escape() -> None:
    weights = sample_weights(np.random.default_rng(0), 8)
    assert max(int(np.abs(values).max()) for values in weights.values()) > 2047


def test_a_chain_of_references_has_an_end() -> None:
    clip = tiny_segment().clips[0]
    clips = tuple(dataclasses.replace(clip, reference=n - 1 if n else None) for n in range(129))
    pts = tuple(range(129 * clip.num_frames))
    tiny_payload(clips=clips[:128], pts=pts[: 128 * clip.num_frames])
    with pytest.raises(InvalidStream, match="more than 127 others"):
        tiny_payload(clips=clips, pts=pts)
