"""Audio in: every track's packets, copied out of a file without re-encoding."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from hypernet.errors import UnreadableVideo, UnsupportedVideo
from hypernet.video.audio_blob import CARRIERS, NO_TIME, AudioTrack, pack_audio
from hypernet.video.demux import BITEXACT, open_container, refuse_io

MAX_BYTES = 960 << 20  # the audio section of a stream has room for 1 GiB, tables included
SKIP_SAMPLES = struct.Struct("<IIBB")


@dataclass(slots=True)
class _Track:
    """One track while its packets are collected."""

    stream: AudioStream
    adts: av.BitStreamFilterContext | None = None
    first: bytes = b""
    shown: bool = False
    rows: list[tuple[int, ...]] = field(default_factory=list)
    payload: list[bytes] = field(default_factory=list)


def extract_audio(
    path: Path | str, max_bytes: int = MAX_BYTES, *, dropped: list[str] | None = None
) -> bytes | None:
    """All audio tracks of a file as one blob, or None if it has no sound.

    Packets are copied byte for byte with their times, durations, priming and trimming; only the
    headers that MPEG-TS puts before every AAC packet are taken off, as every other container does.
    Packets that an edit list hides are left out, except those needed to prime the decoder. What
    cannot be copied is left out and named in ``dropped``.

    Raises:
        UnreadableVideo, UnsupportedVideo: as ``open_video``; also more than ``max_bytes`` of audio.
    """
    path = Path(path)
    with open_container(path) as container:
        tracks = _collect(path, container, max_bytes)
        packed = []
        for track in tracks:
            kept = _finish(track)
            if kept is not None:
                packed.append(kept)
            elif dropped is not None:
                codec = track.stream.codec_context
                name = codec.name if codec is not None else "of an unknown codec"
                dropped.append(f"audio track {track.stream.index} ({name}) cannot be copied")
    return pack_audio(tuple(packed)) if packed else None


def _collect(path: Path, container: InputContainer, max_bytes: int) -> list[_Track]:
    tracks = {stream.index: _Track(stream) for stream in container.streams.audio}
    if not tracks:
        return []
    total = 0
    for packet in _packets(container):
        track = tracks[packet.stream_index]
        for part in _strip_adts(track, packet):
            total += part.size
            if total > max_bytes:
                raise UnsupportedVideo(
                    f"{path} has more than {max_bytes} bytes of audio; re-encode it smaller first"
                )
            _keep(track, part)
    return list(tracks.values())


def _packets(container: InputContainer) -> Iterator[Packet[Any]]:
    """Every audio packet that can be read; damage ends the list, as it ends the pictures."""
    packets = container.demux(*container.streams.audio)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            return
        if packet is None:
            return
        if packet.size and packet.stream.codec_context is not None:
            yield packet


def _strip_adts(track: _Track, packet: Packet[Any]) -> list[Packet[Any]]:
    codec = track.stream.codec_context
    if not track.first:
        track.first = bytes(packet)  # with its header, from which a carrier takes the parameters
        if codec.name == "aac" and track.first.startswith(b"\xff") and not codec.extradata:
            track.adts = av.BitStreamFilterContext("aac_adtstoasc", in_stream=track.stream)
    if track.adts is None:
        return [packet]
    try:
        return track.adts.filter(packet)
    except av.error.FFmpegError:
        return []  # a damaged packet in between


def _keep(track: _Track, packet: Packet[Any]) -> None:
    if packet.is_discard and track.shown:
        return
    track.shown |= not packet.is_discard
    previous = track.rows[-1] if track.rows else None
    dts = packet.dts if packet.dts is not None else packet.pts
    if previous is not None and (dts is None or dts <= previous[2]):
        dts = previous[2] + max(1, previous[3])
    dts = dts or 0
    skip_start = skip_end = 0
    if packet.has_sidedata("skip_samples"):
        side_data = bytes(packet.get_sidedata("skip_samples"))
        skip_start, skip_end, _, _ = SKIP_SAMPLES.unpack(side_data)
    pts = NO_TIME if packet.pts is None else max(packet.pts, dts)
    times = (pts, dts, max(0, packet.duration or 0))
    track.rows.append((packet.size, *times, int(packet.is_keyframe), skip_start, skip_end))
    track.payload.append(bytes(packet))


def _finish(track: _Track) -> AudioTrack | None:
    if not track.rows:
        return None
    own = "matroska" if "matroska" in track.stream.container.format.name else ""
    for carrier_format in sorted(CARRIERS, key=lambda name: name != own):
        carrier = carry(track.stream, track.first, carrier_format)
        if carrier is not None and _same_codec(track.stream, carrier, carrier_format):
            return AudioTrack(
                carrier_format=carrier_format,
                carrier=carrier,
                time_base=track.stream.time_base or Fraction(1, 1000),
                language=track.stream.language or "",
                table_NC=np.array(track.rows, dtype=np.int64),
                payload=b"".join(track.payload),
            )
    return None


def carry(stream: AudioStream, data: bytes, container_format: str) -> bytes | None:
    """A file of that format with one packet of the stream; None if the format cannot hold it."""
    buffer = io.BytesIO()
    sample = Packet(data)
    sample.time_base = stream.time_base or Fraction(1, 1000)
    sample.pts = sample.dts = 0
    try:
        with av.open(buffer, "w", format=container_format) as output:
            output.flags |= BITEXACT
            sample.stream = output.add_stream_from_template(stream, opaque=True)
            output.mux(sample)
    except (av.error.FFmpegError, ValueError):
        return None
    return buffer.getvalue()


@contextmanager
def open_carrier(carrier: bytes, carrier_format: str) -> Iterator[AudioStream]:
    """The audio stream whose codec parameters a carrier holds.

    Raises:
        UnreadableVideo: the carrier holds none.
    """
    try:
        with av.open(
            io.BytesIO(carrier),
            format=carrier_format,
            container_options={"protocol_whitelist": "file"},
            metadata_errors="replace",
            io_open=refuse_io,
        ) as container:
            stream = next(iter(container.streams.audio), None)
            if stream is None or stream.codec_context is None:
                raise UnreadableVideo("the audio carrier holds no audio stream")
            yield stream
    except av.error.FFmpegError as error:
        raise UnreadableVideo(f"the audio carrier cannot be opened: {error}") from error


def _same_codec(stream: AudioStream, carrier: bytes, carrier_format: str) -> bool:
    ours = stream.codec_context
    try:
        with open_carrier(carrier, carrier_format) as copy:
            theirs = copy.codec_context
            return (
                theirs.name == ours.name
                and theirs.sample_rate == ours.sample_rate
                and theirs.layout.name == ours.layout.name
                and (not ours.extradata or theirs.extradata == ours.extradata)
            )
    except UnreadableVideo:
        return False
