"""Audio packets survive source -> blob -> file: same bytes, same times, same priming."""

from __future__ import annotations

import dataclasses
import random
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from hypernet.errors import HypernetError, InvalidStream, UnreadableVideo, UnsupportedVideo
from hypernet.video.audio import extract_audio
from hypernet.video.audio_blob import pack_audio, unpack_audio
from hypernet.video.audio_output import AudioOutput
from hypernet.video.probe import probe
from hypernet.video.reader import read_frames
from hypernet.video.writer import WriteReport, write_video
from tests.clips import Sound, make_clip
from tests.unit.hypernet.video.containers import rewrite_boxes

MILLISECOND = Fraction(1, 1000)


@dataclasses.dataclass(frozen=True)
class Heard:
    """A packet as a demuxer gives it, times in seconds."""

    data: bytes
    pts: Fraction
    duration: Fraction
    skip: bytes
    hidden: bool


def tracks_of(path: Path) -> list[list[Heard]]:
    with av.open(str(path)) as container:
        tracks: dict[int, list[Heard]] = {stream.index: [] for stream in container.streams.audio}
        for packet in container.demux(*container.streams.audio):
            if packet.size and packet.pts is not None and packet.time_base is not None:
                heard = Heard(
                    data=bytes(packet),
                    pts=packet.pts * packet.time_base,
                    duration=(packet.duration or 0) * packet.time_base,
                    skip=bytes(packet.get_sidedata("skip_samples")),
                    hidden=packet.is_discard,
                )
                tracks[packet.stream_index].append(heard)
        return list(tracks.values())


def copy_to(target: Path, source: Path) -> WriteReport:
    return write_video(target, read_frames(source), probe(source), extract_audio(source))


def sound_samples(path: Path) -> np.ndarray[Any, Any]:
    """What a player plays, from time zero: decoded, with skipped samples left out."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return np.concatenate(frames, axis=1)


MP4 = {
    "aac": Sound(codec="aac", rate=44100),
    "mp3": Sound(codec="libmp3lame", rate=44100),
    "opus": Sound(codec="libopus"),
    "flac": Sound(codec="flac"),
    "ac3": Sound(codec="ac3"),
    "eac3": Sound(codec="eac3"),
    "alac": Sound(codec="alac", rate=44100),
    "pcm": Sound(codec="pcm_s16le"),
    "mono": Sound(codec="aac", layout="mono", rate=32000),
    "surround": Sound(codec="aac", layout="5.1"),
    "late": Sound(codec="aac", offset_seconds=0.5),
    "early": Sound(codec="aac", offset_seconds=-0.25, seconds=0.8),
    "longer than the video": Sound(codec="aac", seconds=2.0),
    "shorter than the video": Sound(codec="aac", seconds=0.1),
}


@pytest.mark.parametrize("kind", MP4)
def test_mp4_to_mp4_is_identical(kind: str, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", audio=[MP4[kind]])
    assert copy_to(tmp_path / "b.mp4", source) == WriteReport(num_frames=10)
    assert tracks_of(tmp_path / "b.mp4") == tracks_of(source)
    np.testing.assert_array_equal(sound_samples(tmp_path / "b.mp4"), sound_samples(source))
    with av.open(str(source)) as one, av.open(str(tmp_path / "b.mp4")) as other:
        assert one.streams.audio[0].codec_context.extradata == (
            other.streams.audio[0].codec_context.extradata
        )


@pytest.mark.parametrize("kind", MP4)
def test_mp4_to_matroska_keeps_packets_and_their_times(kind: str, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", audio=[MP4[kind]])
    assert copy_to(tmp_path / "b.mkv", source) == WriteReport(num_frames=10)
    (before,), (after,) = tracks_of(source), tracks_of(tmp_path / "b.mkv")
    assert [packet.data for packet in after] == [packet.data for packet in before]
    for one, other in zip(before, after, strict=True):
        assert abs(one.pts - other.pts) < MILLISECOND


@pytest.mark.parametrize("kind", ["libopus", "flac", "eac3", "libmp3lame", "pcm_s24le"])
def test_matroska_to_matroska_is_identical(kind: str, tmp_path: Path) -> None:
    sound = Sound(codec=kind, offset_seconds=0.2)
    source = make_clip(tmp_path / "a.mkv", audio=[sound])
    assert copy_to(tmp_path / "b.mkv", source) == WriteReport(num_frames=10)
    assert tracks_of(tmp_path / "b.mkv") == tracks_of(source)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "libopus"), ("a.mov", "pcm_s16le"), ("a.avi", "libmp3lame")]
)
@pytest.mark.parametrize("target", ["b.mp4", "b.mkv"])
def test_other_containers(name: str, codec: str, target: str, tmp_path: Path) -> None:
    source = make_clip(
        tmp_path / name,
        codec="mpeg4",
        time_base=Fraction(1, 25),
        audio=[Sound(codec=codec)],
    )
    assert copy_to(tmp_path / target, source).dropped == ()
    (before,), (after,) = tracks_of(source), tracks_of(tmp_path / target)
    assert [packet.data for packet in after] == [packet.data for packet in before]
    for one, other in zip(before, after, strict=True):
        assert abs(one.pts - other.pts) <= MILLISECOND / 2


@pytest.mark.parametrize("target", ["b.mp4", "b.mkv"])
def test_transport_streams_lose_only_the_adts_headers(target: str, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.ts", audio=[Sound()])
    copy_to(tmp_path / target, source)
    (before,), (after,) = tracks_of(source), tracks_of(tmp_path / target)
    for one, other in zip(before, after, strict=True):
        assert one.data.endswith(other.data)
        assert len(one.data) - len(other.data) == 7
        assert abs(one.pts - other.pts) <= MILLISECOND / 2


def test_sound_and_picture_stay_together(tmp_path: Path) -> None:
    source = make_clip(
        tmp_path / "a.ts", codec_options={"bf": "2"}, audio=[Sound(offset_seconds=0.13)]
    )
    for target in (tmp_path / "b.mp4", tmp_path / "b.mkv"):
        copy_to(target, source)
        starts = []
        for path in (source, target):
            picture = next(read_frames(path)).pts * probe(path).time_base
            starts.append(tracks_of(path)[0][0].pts - picture)
        assert abs(starts[0] - starts[1]) <= MILLISECOND


def test_two_tracks_with_languages(tmp_path: Path) -> None:
    sounds = [Sound(language="deu"), Sound(codec="libmp3lame", rate=44100, language="fra")]
    source = make_clip(tmp_path / "a.mp4", audio=sounds)
    copy_to(tmp_path / "b.mp4", source)
    assert tracks_of(tmp_path / "b.mp4") == tracks_of(source)
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert [stream.language for stream in container.streams.audio] == ["deu", "fra"]


def test_trimming_at_the_end_survives(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", audio=[Sound(codec="libopus", seconds=0.333)])
    assert any(packet.skip for packet in tracks_of(source)[0][1:])
    copy_to(tmp_path / "b.mkv", source)
    assert tracks_of(tmp_path / "b.mkv") == tracks_of(source)


def test_vorbis(tmp_path: Path) -> None:
    sound = Sound(codec="vorbis", rate=44100, options=(("strict", "experimental"),))
    source = make_clip(tmp_path / "a.mkv", audio=[sound])
    copy_to(tmp_path / "b.mkv", source)
    assert tracks_of(tmp_path / "b.mkv") == tracks_of(source)
    copy_to(tmp_path / "b.mp4", source)
    (before,), (after,) = tracks_of(source), tracks_of(tmp_path / "b.mp4")
    assert [packet.data for packet in after] == [packet.data for packet in before]


def test_packets_that_an_edit_list_hides_stay_hidden(tmp_path: Path) -> None:
    def hide_0_3_to_0_6_seconds(kind: bytes, body: bytes) -> bytes:
        if kind != b"elst":
            return body
        _, start, rate = struct.unpack(">3i", body[8:20])
        unit = 48000 if start else 12800  # only the sound has priming to skip
        edits = (300, start, rate), (400, start + unit * 6 // 10, rate)
        return struct.pack(">II", 0, 2) + b"".join(struct.pack(">3i", *edit) for edit in edits)

    source = make_clip(
        tmp_path / "a.mp4", num_frames=25, audio=[Sound(seconds=1)], codec_options={"bf": "0"}
    )
    source.write_bytes(rewrite_boxes(source.read_bytes(), hide_0_3_to_0_6_seconds))
    copy_to(tmp_path / "b.mp4", source)
    (before,), (after,) = tracks_of(source), tracks_of(tmp_path / "b.mp4")
    assert len(before) > len(after)
    kept = before[:1] + [packet for packet in before if not packet.hidden]  # the first one primes
    assert [(packet.data, packet.pts) for packet in after] == [
        (packet.data, packet.pts) for packet in kept
    ]
    assert sound_samples(tmp_path / "b.mp4").shape == sound_samples(source).shape
    times = [[frame.pts for frame in read_frames(path)] for path in (source, tmp_path / "b.mp4")]
    assert times[0] == times[1]


def test_a_negative_start_of_the_video_moves_the_sound_too(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", audio=[Sound(codec="flac")])
    frames = [dataclasses.replace(frame, pts=frame.pts - 6400) for frame in read_frames(source)]
    for name in ("b.mp4", "b.mkv"):
        write_video(tmp_path / name, frames, probe(source), extract_audio(source))
        assert next(read_frames(tmp_path / name)).pts == 0
        (packets,) = tracks_of(tmp_path / name)
        assert packets[0].pts == Fraction(1, 2)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_the_same_file_gives_the_same_sound(name: str, tmp_path: Path) -> None:
    source = make_clip(tmp_path / name, audio=[Sound(), Sound(codec="libmp3lame")])
    assert extract_audio(source) == extract_audio(source)
    for number in range(2):
        copy_to(tmp_path / f"{number}.mkv", source)
        copy_to(tmp_path / f"{number}.mp4", source)
    assert (tmp_path / "0.mkv").read_bytes() == (tmp_path / "1.mkv").read_bytes()
    # With several threads, x264 does not always give the same bytes for the same pictures.
    assert tracks_of(tmp_path / "0.mp4") == tracks_of(tmp_path / "1.mp4")


def test_waiting_for_the_sound_costs_nothing(tmp_path: Path) -> None:
    blob = extract_audio(make_clip(tmp_path / "a.mp4", audio=[Sound(codec="flac")]))
    with (
        av.open(str(tmp_path / "b.mkv"), "w") as output,
        AudioOutput(output, blob, Fraction(100)) as sound,
    ):
        for number in range(100_000):
            sound.write_until(Fraction(number, 1001))
        sound.write_until(None)
    assert tracks_of(tmp_path / "b.mkv")[0][0].pts == 100


def test_no_sound_no_blob(tmp_path: Path) -> None:
    assert extract_audio(make_clip(tmp_path / "a.mp4")) is None


def test_a_codec_that_the_output_cannot_hold_is_reported(tmp_path: Path) -> None:
    source = make_clip(
        tmp_path / "a.avi",
        codec="mpeg4",
        time_base=Fraction(1, 25),
        audio=[Sound(codec="pcm_s16le"), Sound(codec="libmp3lame")],
    )
    report = copy_to(tmp_path / "b.mp4", source)
    assert report.dropped == ("audio track 0 (pcm_s16le) does not fit into mp4",)
    assert len(tracks_of(tmp_path / "b.mp4")) == 1
    assert copy_to(tmp_path / "b.mkv", source).dropped == ()
    assert len(tracks_of(tmp_path / "b.mkv")) == 2


def test_files_without_sound_say_so(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", audio=[Sound()])
    for target, words in (("b.y4m", "Y4M"), ("pictures/", "folder")):
        assert words in copy_to(Path(f"{tmp_path}/{target}"), source).dropped[0]


def test_the_amount_is_limited(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", audio=[Sound()])
    with pytest.raises(UnsupportedVideo, match="more than 1000 bytes of audio"):
        extract_audio(source, max_bytes=1000)


def test_unreadable_sources(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideo):
        extract_audio(tmp_path / "missing.mp4")


def test_a_damaged_source_keeps_what_can_be_read(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.ts", num_frames=50, audio=[Sound(seconds=2)])
    data = source.read_bytes()
    source.write_bytes(data[: len(data) // 2] + bytes(3000) + data[len(data) // 2 + 3000 :])
    dropped: list[str] = []
    blob = extract_audio(source, dropped=dropped)
    assert blob is not None
    assert dropped == []
    (track,) = unpack_audio(blob)
    assert 20 < len(track.table_NC) < 95
    assert (np.diff(track.table_NC[:, 2]) > 0).all()
    copy_to(tmp_path / "b.mp4", source)


def test_a_blob_is_small_beside_its_packets(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", num_frames=2, audio=[Sound(seconds=20)])
    blob = extract_audio(source)
    assert blob is not None
    packets = sum(len(packet.data) for packet in tracks_of(source)[0])
    assert len(blob) < packets * 1.01 + 2000


def test_a_hostile_carrier_is_an_invalid_stream(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", audio=[Sound()])
    (track,) = unpack_audio(extract_audio(source) or b"")
    silent = make_clip(tmp_path / "b.mp4").read_bytes()
    playlist = b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n"
    for carrier in (b"", b"noise" * 100, silent, playlist, track.carrier[:200]):
        for carrier_format in ("mp4", "mov", "matroska", "nut"):
            changed = dataclasses.replace(track, carrier=carrier, carrier_format=carrier_format)
            with pytest.raises(InvalidStream):
                write_video(
                    tmp_path / "c.mp4",
                    read_frames(source),
                    probe(source),
                    pack_audio((changed,)),
                )
            assert not (tmp_path / "c.mp4").exists()


@pytest.mark.parametrize("target", ["b.mp4", "b.mkv"])
def test_times_that_a_muxer_refuses_cost_the_track_only(target: str, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", audio=[Sound(), Sound(language="eng")])
    good, other = unpack_audio(extract_audio(source) or b"")
    table = other.table_NC.copy()
    table[5:, 1:3] += 1 << 59
    other = dataclasses.replace(other, table_NC=table, time_base=Fraction(1, (1 << 31) - 1))
    report = write_video(
        tmp_path / target, read_frames(source), probe(source), pack_audio((other, good))
    )
    tracks = tracks_of(tmp_path / target)
    assert len(tracks) + len(report.dropped) == 2
    assert [packet.data for packet in tracks[-1]] == [p.data for p in good.packets()]
    assert report.num_frames == len(list(read_frames(tmp_path / target))) == 10


def test_mutated_carriers_never_fail_otherwise(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", num_frames=1, audio=[Sound(seconds=0.1)])
    info, frames = probe(source), list(read_frames(source))
    (track,) = unpack_audio(extract_audio(source) or b"")
    rng = random.Random(0)
    outcomes = set()
    for _ in range(120):
        carrier = bytearray(track.carrier)
        for _ in range(rng.choice((1, 2, 8))):
            carrier[rng.randrange(len(carrier))] = rng.randrange(256)
        blob = pack_audio((dataclasses.replace(track, carrier=bytes(carrier)),))
        try:
            write_video(tmp_path / "b.mp4", frames, info, blob)
        except HypernetError as error:
            assert isinstance(error, InvalidStream)  # noqa: PT017 -- most mutants are written
            outcomes.add("refused")
        else:
            outcomes.add("written")
    assert outcomes == {"refused", "written"}
