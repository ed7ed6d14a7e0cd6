from __future__ import annotations

import dataclasses
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypernet.bitstream.container import IndexEntry, SectionType, StreamIndex
from hypernet.bitstream.limits import Limits
from hypernet.bitstream.reader import StreamReader, pack_metadata, unpack_metadata
from hypernet.bitstream.sources import BytesSource, CountingSource
from hypernet.bitstream.writer import SegmentPayload, write_stream
from hypernet.errors import InvalidStream, OutputNotWritable
from tests.unit.hypernet.bitstream.samples import sample_header

Change = Callable[[bytearray], None]


def segments(*lengths: int) -> list[SegmentPayload]:
    """Segments of 11 frames and of the given numbers of bytes."""
    return [
        SegmentPayload(
            first_frame=11 * number,
            num_frames=11,
            first_pts=100 * number - 7,
            payload=bytes([number]) * length,
        )
        for number, length in enumerate(lengths)
    ]


def stream_of(parts: list[SegmentPayload], **sections: Any) -> bytes:
    output = io.BytesIO()
    header = sample_header(num_frames=11 * len(parts))
    length = write_stream(output, header, parts, **sections)
    assert length == len(output.getvalue())
    return output.getvalue()


def reader_of(stream: bytes, limits: Limits | None = None) -> StreamReader:
    return StreamReader(BytesSource(stream), limits or Limits())


def reseal(stream: bytearray) -> bytes:
    """Make the checksums of preamble, header and index right again."""
    header_length, index_length = struct.unpack_from("<II", stream, 12)
    struct.pack_into("<I", stream, 28, zlib.crc32(stream[:28]))
    for start, length in ((32, header_length), (36 + header_length, index_length)):
        struct.pack_into("<I", stream, start + length, zlib.crc32(stream[start : start + length]))
    return bytes(stream)


def index_start(stream: bytes) -> int:
    (header_length,) = struct.unpack_from("<I", stream, 12)
    return 36 + int(header_length)


STREAM = stream_of(segments(50, 30), audio=b"sound", metadata={"title": "Küche"})


def test_everything_comes_back() -> None:
    reader = reader_of(STREAM)
    assert reader.header == sample_header(num_frames=22)
    assert [reader.segment(i) for i in range(2)] == [b"\0" * 50, b"\1" * 30]
    assert reader.audio() == b"sound"
    assert reader.metadata() == {"title": "Küche"}
    assert [entry.first_pts for entry in reader.index.segments] == [-7, 93]
    assert (reader.preamble.major, reader.preamble.minor) == (1, 0)
    reader.verify()
    with pytest.raises(IndexError):
        reader.segment(2)


def test_parts_that_are_absent() -> None:
    reader = reader_of(stream_of(segments(1)))
    assert reader.audio() is None
    assert reader.metadata() == {}
    assert stream_of(segments(1), metadata={}) == stream_of(segments(1))


def test_payloads_in_files_give_the_same_bytes(tmp_path: Path) -> None:
    parts = []
    for number, part in enumerate(segments(50, 3_000_000)):
        path = tmp_path / str(number)
        assert isinstance(part.payload, bytes)
        path.write_bytes(part.payload)
        parts.append(dataclasses.replace(part, payload=path))
    (tmp_path / "audio").write_bytes(b"sound")
    assert stream_of(parts, audio=tmp_path / "audio") == stream_of(
        segments(50, 3_000_000), audio=b"sound"
    )


def test_a_path_is_written_atomically(tmp_path: Path) -> None:
    target = tmp_path / "out.nrv"
    write_stream(target, sample_header(), segments(5, 6))
    assert reader_of(target.read_bytes()).segment(1) == b"\1" * 6
    with pytest.raises(InvalidStream):
        write_stream(target, sample_header(), segments(5))
    assert reader_of(target.read_bytes()).segment(1) == b"\1" * 6
    with pytest.raises(OutputNotWritable):
        write_stream(tmp_path / "missing" / "out.nrv", sample_header(), segments(5, 6))


def test_a_payload_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    path.write_bytes(b"before")
    part = dataclasses.replace(segments(0)[0], payload=path)

    class Output(io.BytesIO):
        def write(self, data: Any) -> int:
            path.write_bytes(b"after")
            return super().write(data)

    with pytest.raises(InvalidStream, match="changed"):
        write_stream(Output(), sample_header(num_frames=11), [part])


def test_one_frame_costs_front_matter_and_one_segment() -> None:
    stream = stream_of(segments(*[1000 + i for i in range(10)]), audio=bytes(5000))
    source = CountingSource(BytesSource(stream))
    reader = StreamReader(source)
    reader.segment(reader.index.segment_of(60))
    assert source.reads == [
        (0, 32),
        (32, reader.preamble.front_length - 32),
        (reader.index.segments[5].offset, 1005),
    ]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 400), st.integers(1, 10**12), st.binary(max_size=60)), min_size=1
    ),
    st.one_of(st.none(), st.binary(max_size=100)),
    st.dictionaries(st.text(max_size=5), st.one_of(st.none(), st.integers(), st.text(max_size=9))),
)
def test_any_stream_comes_back(
    parts: list[tuple[int, int, bytes]], audio: bytes | None, metadata: dict[str, Any]
) -> None:
    payloads = []
    frame = pts = 0
    for num_frames, gap, payload in parts:
        payloads.append(
            SegmentPayload(first_frame=frame, num_frames=num_frames, first_pts=pts, payload=payload)
        )
        frame, pts = frame + num_frames, pts + gap
    output = io.BytesIO()
    write_stream(output, sample_header(num_frames=frame), payloads, audio=audio, metadata=metadata)
    reader = reader_of(output.getvalue())
    for number, part in enumerate(payloads):
        assert reader.segment(number) == part.payload
        first, last = part.first_frame, part.first_frame + part.num_frames - 1
        assert reader.index.segment_of(first) == reader.index.segment_of(last) == number
    assert reader.audio() == audio
    assert reader.metadata() == metadata


@pytest.mark.parametrize("frame", [-1, 22])
def test_frames_outside_the_stream(frame: int) -> None:
    with pytest.raises(IndexError, match="of 22"):
        reader_of(STREAM).index.segment_of(frame)


@pytest.mark.parametrize("length", [*range(0, len(STREAM), 7), len(STREAM) - 1])
def test_a_truncated_stream_is_refused(length: int) -> None:
    with pytest.raises(InvalidStream, match=r"truncated|only \d+ bytes"):
        reader_of(STREAM[:length])


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(InvalidStream, match="3 trailing bytes"):
        reader_of(STREAM + b"abc")


@pytest.mark.parametrize("position", range(len(STREAM)))
def test_every_damaged_byte_is_noticed(position: int) -> None:
    damaged = bytearray(STREAM)
    damaged[position] ^= 0x10
    with pytest.raises(InvalidStream):
        reader_of(bytes(damaged)).verify()


def put(kind: str, offset: int, value: int) -> Change:
    return lambda stream: struct.pack_into("<" + kind, stream, offset, value)


def put_index(kind: str, entry: int, offset: int, value: int) -> Change:
    position = index_start(STREAM) + 40 * entry + offset
    return lambda stream: struct.pack_into("<" + kind, stream, position, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("B", 8, 2), "version 2.0"),
        (put("H", 10, 1), "reserved field"),
        (put("Q", 20, len(STREAM) + 1), "truncated"),
        (put("Q", 20, len(STREAM) - 1), "1 trailing"),
        (put_index("B", 2, 0, 99), "unknown section type 99"),
        (put_index("B", 2, 0, 3), "2 metadata sections"),
        (put_index("B", 3, 0, 2), "2 audio sections"),
        (put_index("B", 0, 1, 2), "reserved bits"),
        (put_index("H", 0, 2, 1), "reserved bits"),
        (put_index("Q", 1, 8, 0), "does not lie"),
        (put_index("Q", 0, 16, 51), "does not lie"),
        (put_index("Q", 3, 16, 2**63), "does not lie"),
        (put_index("Q", 3, 16, 1), "end before the stream"),
        (put_index("I", 1, 24, 10), "continue at frame 11"),
        (put_index("I", 1, 28, 0), "continue at frame 11"),
        (put_index("I", 1, 28, 12), "segments hold 23 frames"),
        (put_index("q", 1, 32, -7), "start later"),
        (put_index("I", 2, 24, 1), "no segment has frames"),
        (put_index("I", 2, 28, 1), "no segment has frames"),
        (put_index("q", 2, 32, 1), "no segment has frames"),
        (put("I", 32 + 8, 21), "header says 21"),
    ],
)
def test_inconsistent_front_matter_is_refused(change: Change, message: str) -> None:
    stream = bytearray(STREAM)
    change(stream)
    with pytest.raises(InvalidStream, match=message):
        reader_of(reseal(stream))


def test_lengths_that_do_not_fit_are_refused() -> None:
    stream = bytearray(STREAM)
    struct.pack_into("<I", stream, 16, 1 << 20)
    struct.pack_into("<I", stream, 28, zlib.crc32(stream[:28]))
    with pytest.raises(InvalidStream, match="longer than the stream"):
        reader_of(bytes(stream))


def test_an_index_that_is_no_whole_number_of_entries_is_refused() -> None:
    start = index_start(STREAM)
    index = STREAM[start : start + 159]
    stream = bytearray(
        STREAM[:start] + index + struct.pack("<I", zlib.crc32(index)) + STREAM[start + 164 :]
    )
    struct.pack_into("<I", stream, 16, 159)
    struct.pack_into("<Q", stream, 20, len(stream))
    struct.pack_into("<I", stream, 28, zlib.crc32(stream[:28]))
    with pytest.raises(InvalidStream, match="multiple of 40"):
        reader_of(bytes(stream))


def test_another_kind_of_file_is_named_as_such() -> None:
    with pytest.raises(InvalidStream, match=r"not an \.nrv stream: the signature"):
        reader_of(b"\0\0\0\x20ftypisom" + bytes(100))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(max_header_bytes=50), "header length"),
        (Limits(max_index_bytes=100), "index length"),
        (Limits(max_segments=1), "number of segments is 2"),
        (Limits(max_segment_bytes=49), "segment length is 50"),
        (Limits(max_audio_bytes=4), "audio length is 5"),
        (Limits(max_metadata_bytes=4), "metadata length"),
        (Limits(max_frames_per_segment=10), "frames of a segment is 11"),
    ],
)
def test_tighter_limits_are_kept(limits: Limits, message: str) -> None:
    with pytest.raises(InvalidStream, match=message):
        reader_of(STREAM, limits)


def test_an_unknown_optional_section_is_skipped() -> None:
    stream = bytearray(STREAM)
    stream[index_start(STREAM) + 80] = 200
    stream[index_start(STREAM) + 81] = 1
    reader = reader_of(reseal(stream))
    assert reader.audio() is None
    assert reader.segment(1) == b"\1" * 30
    reader.verify()


def test_a_newer_minor_version_is_read() -> None:
    start = index_start(STREAM)
    header = STREAM[32 : start - 4] + b"news"
    stream = bytearray(STREAM[:32] + header + bytes(4) + STREAM[start:])
    stream[9] = 1
    struct.pack_into("<I", stream, 12, len(header))
    struct.pack_into("<Q", stream, 20, len(stream))
    for entry in range(4):
        position = start + 4 + 40 * entry + 8
        (offset,) = struct.unpack_from("<Q", stream, position)
        struct.pack_into("<Q", stream, position, offset + 4)
    assert reader_of(reseal(stream)).audio() == b"sound"
    stream[9] = 0
    with pytest.raises(InvalidStream, match="the header has"):
        reader_of(reseal(stream))


@pytest.mark.parametrize(
    "parts",
    [
        [],
        segments(1, 1, 1),
        segments(1, 1)[::-1],
        [segments(1)[0], dataclasses.replace(segments(1, 1)[1], first_pts=-7)],
        [segments(1)[0], dataclasses.replace(segments(1, 1)[1], num_frames=20_000)],
    ],
)
def test_the_writer_refuses_what_a_reader_would(parts: list[SegmentPayload]) -> None:
    with pytest.raises(InvalidStream):
        write_stream(io.BytesIO(), sample_header(num_frames=22), parts)


def test_the_index_alone() -> None:
    entry = IndexEntry(type=SectionType.SEGMENT, checksum=0, offset=0, length=0, num_frames=5)
    assert StreamIndex([entry]).segment_of(4) == 0


@pytest.mark.parametrize(
    "payload", [b"", b"\xff", b"[1]", b"{", b'{"a":1} x', b"[" * 100_000, b"9" * 5000]
)
def test_metadata_that_is_no_object_is_refused(payload: bytes) -> None:
    with pytest.raises(InvalidStream, match="metadata is not"):
        unpack_metadata(payload)


def test_equal_metadata_gives_equal_bytes() -> None:
    assert pack_metadata({"b": 1, "a": "ü"}) == pack_metadata({"a": "ü", "b": 1})
    assert pack_metadata({"b": 1, "a": "ü"}) == '{"a":"ü","b":1}'.encode()
