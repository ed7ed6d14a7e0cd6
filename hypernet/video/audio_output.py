"""Audio out: the packets of a blob muxed beside the video, with their own times."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Self

import av
import av.error
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet, PacketSideData, packet_sidedata_type_from_literal

from hypernet.errors import InvalidStream, UnreadableVideo
from hypernet.video.audio import SKIP_SAMPLES, open_carrier
from hypernet.video.audio_blob import AudioPacket, AudioTrack, unpack_audio
from hypernet.video.sink import Nowhere

#: Option of a muxer: leave negative times alone instead of moving everything.
AS_THEY_ARE = {"avoid_negative_ts": "disabled"}

if TYPE_CHECKING:
    _Timed = tuple[Fraction, int, Packet[Any]]


class AudioOutput:
    """Adds a blob's tracks to an output container and feeds their packets in time order.

    ``dropped`` names the tracks that the container cannot hold. Close it after the container.
    """

    def __init__(
        self, output: OutputContainer, blob: bytes | None, shift_seconds: Fraction
    ) -> None:
        self.dropped: list[str] = []
        self._output = output
        self._stack = ExitStack()
        tracks = unpack_audio(blob) if blob is not None else ()
        queues = [self._add(track, number, shift_seconds) for number, track in enumerate(tracks)]
        self._packets: Iterator[_Timed] = heapq.merge(*queues, key=lambda item: item[:2])
        self._next = next(self._packets, None)
        self.sample_rates = [s.codec_context.sample_rate for s in output.streams.audio]

    def write_until(self, seconds: Fraction | None) -> None:
        """Mux every packet that is to be decoded up to that time; all the rest if None.

        Raises:
            InvalidStream: the muxer does not accept a packet.
        """
        while self._next is not None and (seconds is None or self._next[0] <= seconds):
            try:
                self._output.mux(self._next[2])
            except (av.error.ArgumentError, av.error.InvalidDataError) as error:
                raise InvalidStream(f"an audio packet cannot be written: {error}") from error
            self._next = next(self._packets, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _add(self, track: AudioTrack, number: int, shift_seconds: Fraction) -> Iterator[_Timed]:
        try:
            template = self._stack.enter_context(open_carrier(track.carrier, track.carrier_format))
        except UnreadableVideo as error:
            raise InvalidStream(f"audio track {number}: {error}") from error
        shift = round(shift_seconds / track.time_base)
        container = self._output.format.name
        if not _fits(track, template, container, shift):
            name = template.codec_context.name
            self.dropped.append(f"audio track {number} ({name}) does not fit into {container}")
            return iter(())
        stream = self._output.add_stream_from_template(template, opaque=True)
        if track.language:
            stream.metadata["language"] = track.language
        return _timed(track, number, stream, shift)


def _fits(track: AudioTrack, template: AudioStream, container: str, shift: int) -> bool:
    """Rehearse: a muxer may refuse a codec, or times, only after it has accepted many packets."""
    try:
        with av.open(Nowhere(), "w", format=container, container_options=AS_THEY_ARE) as output:
            stream = output.add_stream_from_template(template, opaque=True)
            for _, _, packet in _timed(track, 0, stream, shift):
                output.mux(packet)
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def _timed(track: AudioTrack, number: int, stream: AudioStream, shift: int) -> Iterator[_Timed]:
    for coded in track.packets():
        packet = _packet(coded, track, shift)
        packet.stream = stream
        yield (coded.dts + shift) * track.time_base, number, packet


def _packet(coded: AudioPacket, track: AudioTrack, shift: int) -> Packet[Any]:
    packet: Packet[Any] = Packet(coded.data)
    packet.time_base = track.time_base
    packet.pts = coded.dts + shift if coded.pts is None else coded.pts + shift
    packet.dts = coded.dts + shift
    packet.duration = coded.duration
    packet.is_keyframe = coded.key
    if coded.skip_start or coded.skip_end:
        kind = packet_sidedata_type_from_literal("skip_samples")
        side_data = PacketSideData(kind, SKIP_SAMPLES.size)  # type: ignore[call-arg]
        side_data.update(SKIP_SAMPLES.pack(coded.skip_start, coded.skip_end, 0, 0))
        packet.set_sidedata(side_data)
    return packet
