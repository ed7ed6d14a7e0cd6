from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hypernet.bitstream.container import PREAMBLE_BYTES
from hypernet.bitstream.header import StreamHeader
from hypernet.bitstream.limits import Limits
from hypernet.bitstream.reader import StreamReader
from hypernet.bitstream.segment import (
    ClipSymbols,
    SegmentSymbols,
    decode_segment,
    encode_segment,
)
from hypernet.bitstream.sources import BytesSource, CountingSource, FileSource
from hypernet.bitstream.writer import SegmentPayload, write_stream
from hypernet.codec import encode_file
from hypernet.decoders import config_to_fields
from hypernet.decoders.nerv import NervConfig, NervDecoder
from hypernet.decoding import NrvStream, open_stream, verify
from hypernet.errors import InvalidStream, UnreadableInput
from hypernet.plan import EncodeSettings
from hypernet.rendering import to_uint8
from hypernet.segment_decoder import SegmentDecoder
from hypernet.sequential_decoding import segment_frames
from hypernet.video.probe import probe
from hypernet.video.reader import Frame
from tests.clips import Sound, Tags, make_clip, moving

SEGMENTS, SEGMENT_FRAMES = 10, 4
NUM_FRAMES = SEGMENTS * SEGMENT_FRAMES
CONFIG = NervConfig(
    frequencies=4, hidden=6, widths=(5, 4), strides=(2,), head_kernel=3, head_stride=2
)
SIZE = {"width": 21, "height": 14}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten scenes, which become ten segments, with sound and every kind of tag."""
    frames = [p for scene in range(SEGMENTS) for p in moving(SEGMENT_FRAMES, (48, 30), scene=scene)]
    return make_clip(
        tmp_path_factory.mktemp("decoding") / "clip.mp4",
        frames=frames,
        fps=Fraction(30000, 1001),
        rotation=270,
        pixel_aspect=Fraction(4, 3),
        tags=Tags(primaries=1, transfer=1, matrix=1, range=2),
        audio=[Sound(seconds=1.0)],
    )


@pytest.fixture(scope="module")
def stream_path(clip: Path) -> Path:
    output = clip.with_suffix(".nrv")
    encode_file(clip, output, EncodeSettings(preset="debug", steps=2, device="cpu"))
    return output


@pytest.fixture(scope="module")
def frames(stream_path: Path) -> list[Frame]:
    with open_stream(stream_path) as stream:
        return list(stream.frames())


def same(one: Frame, other: Frame) -> bool:
    """Equal times; pixels may round differently where batches differ."""
    difference = np.abs(one.rgb_HWC.astype(int) - other.rgb_HWC.astype(int))
    return (
        one.pts == other.pts and one.rgb_HWC.shape == other.rgb_HWC.shape and difference.max() <= 1
    )


def test_the_stream_has_ten_segments(stream_path: Path, frames: list[Frame]) -> None:
    with open_stream(stream_path) as stream:
        assert len(stream.reader.index.segments) == SEGMENTS
    assert len(frames) == NUM_FRAMES


def test_one_frame_reads_the_front_and_one_segment(stream_path: Path, frames: list[Frame]) -> None:
    with FileSource(stream_path) as file:
        counting = CountingSource(file)
        stream = NrvStream(counting)
        front = stream.reader.preamble.front_length
        frame = stream.frame(22)
    entry = stream.reader.index.segments[5]
    assert counting.reads == [
        (0, PREAMBLE_BYTES),
        (PREAMBLE_BYTES, front - PREAMBLE_BYTES),
        (entry.offset, entry.length),
    ]
    assert counting.bytes_read < stream_path.stat().st_size / 3
    assert same(frame, frames[22])


@pytest.mark.parametrize("number", [0, 3, 4, 17, 39])
def test_any_frame_alone_is_that_of_the_whole(
    stream_path: Path, frames: list[Frame], number: int
) -> None:
    with open_stream(stream_path) as stream:
        assert same(stream.frame(number), frames[number])


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (3, 5), (4, 8), (6, 31), (38, 99), (40, 41)])
def test_ranges_cross_segments(
    stream_path: Path, frames: list[Frame], start: int, stop: int
) -> None:
    with open_stream(stream_path) as stream:
        decoded = list(stream.frames(start, stop))
    assert len(decoded) == len(frames[start:stop])
    assert all(same(a, b) for a, b in zip(decoded, frames[start:stop], strict=True))


@pytest.mark.parametrize("number", [-1, NUM_FRAMES])
def test_frames_that_do_not_exist(stream_path: Path, number: int) -> None:
    with open_stream(stream_path) as stream, pytest.raises(IndexError, match=f"of {NUM_FRAMES}"):
        stream.frame(number)


def test_one_frame_over_http_reads_the_same_ranges(
    stream_path: Path, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with (
        range_server(stream_path.read_bytes()) as (address, ranges),
        open_stream(address) as stream,
    ):
        assert same(stream.frame(22), frames[22])
        entry = stream.reader.index.segments[5]
        front = stream.reader.preamble.front_length
    assert ranges[-1] == (entry.offset, entry.length)
    # One byte more: the size is asked for with a range of one byte.
    assert sum(length for _, length in ranges) <= 1 + front + entry.length


def test_one_frame_costs_one_frame(stream_path: Path) -> None:
    with open_stream(stream_path) as stream:
        with FlopCounterMode(display=False) as one:
            stream.frame(22)
        with FlopCounterMode(display=False) as segment:
            list(stream.frames(20, 24))
    assert 0 < one.get_total_flops() * SEGMENT_FRAMES == segment.get_total_flops()


def test_the_stream_describes_the_source(clip: Path, stream_path: Path) -> None:
    source = probe(clip)
    with open_stream(stream_path) as stream:
        info = stream.info
    assert (info.width, info.height, info.time_base) == (48, 30, source.time_base)
    assert (info.rotation, info.pixel_aspect) == (270, Fraction(4, 3))
    assert (info.colour, info.bit_depth, info.has_audio) == (source.colour, 8, True)
    assert info.estimated_frames == NUM_FRAMES


def test_damage_stays_in_its_segment(stream_path: Path, frames: list[Frame]) -> None:
    data = bytearray(stream_path.read_bytes())
    entry = StreamReader(BytesSource(bytes(data))).index.segments[5]
    data[entry.offset + entry.length // 2] ^= 0x40
    stream = NrvStream(BytesSource(bytes(data)))
    assert same(stream.frame(19), frames[19])
    assert same(stream.frame(24), frames[24])
    with pytest.raises(InvalidStream, match="segment 5"):
        stream.frame(20)
    with pytest.raises(InvalidStream, match="segment 5"):
        verify(stream.reader)


def test_verify_counts_every_weight(stream_path: Path) -> None:
    with open_stream(stream_path) as stream:
        per_clip = sum(spec.size for spec in stream.segments.specs_of(SEGMENT_FRAMES))
        assert verify(stream.reader) == SEGMENTS * per_clip


@pytest.mark.parametrize("name", ["missing.nrv", "."])
def test_what_cannot_be_opened(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnreadableInput), open_stream(tmp_path / name):
        pass


def header(num_frames: int, **changes: Any) -> StreamHeader:
    fields: dict[str, Any] = {
        **SIZE,
        "num_frames": num_frames,
        "time_base_num": 1,
        "time_base_den": 25,
        "colour_primaries": 2,
        "colour_transfer": 2,
        "colour_matrix": 2,
        "full_range": False,
        "bit_depth": 8,
        "decoder": NervDecoder.wire_id,
        "decoder_config": config_to_fields(CONFIG),
    }
    return StreamHeader(**(fields | changes))


def chained_segment() -> bytes:
    """Three clips of 3, 2 and 4 frames; the last two are coded against the first."""
    decoder = SegmentDecoder(header(9))
    rng = np.random.default_rng(0)
    clips = tuple(
        ClipSymbols(
            num_frames=count,
            reference=0 if number else None,
            step_indices=(150,) * len(decoder.specs_of(1)),
            symbols={
                spec.name: rng.integers(-9, 10, spec.shape).astype(np.int32)
                for spec in decoder.specs_of(count)
            },
        )
        for number, count in enumerate((3, 2, 4))
    )
    pts = tuple(range(100, 109))
    segment = SegmentSymbols(pts=pts, clips=clips)
    return encode_segment(segment, decoder.specs_of)


@pytest.mark.parametrize(("start", "stop"), [(0, 3), (2, 4), (4, 5), (5, 9), (1, 8), (0, 9)])
def test_segments_of_several_clips(start: int, stop: int) -> None:
    decoder, payload = SegmentDecoder(header(9)), chained_segment()
    whole = list(segment_frames(decoder, payload))
    part = list(segment_frames(decoder, payload, start, stop))
    assert [frame.pts for frame in part] == list(range(100 + start, 100 + stop))
    assert all(same(a, b) for a, b in zip(part, whole[start:stop], strict=True))
    assert not same(replace(whole[0], pts=0), replace(whole[3], pts=0))


def test_only_the_clips_that_are_needed_are_decoded() -> None:
    decoder, payload = SegmentDecoder(header(9)), chained_segment()
    partly = decode_segment(payload, decoder.specs_of, clips=[1])
    assert [bool(clip.symbols) for clip in partly.clips] == [True, True, False]


def test_an_empty_range_decodes_nothing() -> None:
    assert list(segment_frames(SegmentDecoder(header(9)), chained_segment(), 4, 4)) == []


def stream_of(entries: list[tuple[int, int]], payload: bytes) -> NrvStream:
    """A stream whose index claims (frames, first pts) of each segment, all with one payload."""
    segments, first = [], 0
    for num_frames, first_pts in entries:
        segments.append(
            SegmentPayload(
                first_frame=first, num_frames=num_frames, first_pts=first_pts, payload=payload
            )
        )
        first += num_frames
    buffer = io.BytesIO()
    write_stream(buffer, header(first), segments)
    return NrvStream(BytesSource(buffer.getvalue()))


def test_an_index_that_promises_more_frames_is_refused() -> None:
    stream = stream_of([(11, 100)], chained_segment())
    with pytest.raises(InvalidStream, match="fewer frames than the index says"):
        list(stream.frames())


@pytest.mark.parametrize("entry", [(8, 100), (9, 99)])
def test_verify_compares_index_and_segment(entry: tuple[int, int]) -> None:
    assert verify(stream_of([(9, 100)], chained_segment()).reader) > 0
    with pytest.raises(InvalidStream, match="segment 0 and the index disagree"):
        verify(stream_of([entry], chained_segment()).reader)


def test_an_unknown_decoder_is_refused_at_once() -> None:
    with pytest.raises(InvalidStream, match="unknown decoder 77"):
        SegmentDecoder(header(1, decoder=77))


def test_a_decoder_of_an_earlier_version_is_refused_before_its_decode_file_is_missed() -> None:
    with pytest.raises(InvalidStream, match="decoder 7 is that of an earlier version"):
        SegmentDecoder(header(1, decoder=7, decode_file=bytes(31) + b"\1"))


def test_a_decoder_that_needs_too_much_memory_is_refused_at_once() -> None:
    greedy = replace(CONFIG, widths=(1, 4096), strides=(1,), head_stride=1)
    with pytest.raises(InvalidStream, match="memory to render one frame"):
        SegmentDecoder(header(1, width=8192, height=4352, decoder_config=config_to_fields(greedy)))


def test_limits_hold_for_segments() -> None:
    tight = SegmentDecoder(header(9), Limits(max_frames_per_segment=8))
    with pytest.raises(InvalidStream, match="frames of a segment is 9"):
        list(segment_frames(tight, chained_segment()))


def test_pixels_are_rounded_and_clipped() -> None:
    values = torch.tensor([-0.2, 0.0, 0.4999 / 255, 0.5001 / 255, 127.4 / 255, 1.0, 1.7])
    pixels = to_uint8(values.expand(1, 3, 1, 7).clone())
    assert pixels.shape == (1, 1, 7, 3)
    assert pixels[0, 0, :, 0].tolist() == [0, 0, 0, 1, 127, 255, 255]


@contextmanager
def range_server(data: bytes) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Serves bytes over HTTP by ranges; gives its address and every (offset, length) asked for."""
    ranges: list[tuple[int, int]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
            ranges.append((first, last + 1 - first))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            self.end_headers()
            self.wfile.write(data[first : last + 1])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/clip.nrv", ranges
        finally:
            server.shutdown()
            thread.join()
