"""Files that refer to other files are refused, and the other files stay untouched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import av
import av.error
import pytest

from hypernet.errors import UnreadableInput, UnreadableVideo, UnsupportedVideo
from hypernet.video import demux
from hypernet.video.audio import extract_audio
from hypernet.video.probe import probe
from hypernet.video.reader import read_frames
from tests.clips import Sound, make_clip
from tests.unit.hypernet.video.containers import (
    alias_record,
    data_reference,
    element,
    insert_into_segment,
    rewrite_boxes,
)
from tests.unit.hypernet.video.watch import watch

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.4,\n{name}\n#EXT-X-ENDLIST\n"
HLS_WITH_KEY = (
    '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="file://{path}"\n#EXT-X-TARGETDURATION:1\n'
    "#EXTINF:0.4,\n{path}\n#EXT-X-ENDLIST\n"
)
DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4">'
    '<Representation id="1" bandwidth="1000"><BaseURL>{path}</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>"
)
IMF = (
    '<?xml version="1.0"?><AssetMap xmlns="http://www.smpte-ra.org/schemas/429-9/2007/AM">'
    "<AssetList><Asset><ChunkList><Chunk><Path>{path}</Path></Chunk></ChunkList></Asset>"
    "</AssetList></AssetMap>"
)
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
PLAYLISTS = {
    "hls.m3u8": HLS,
    "hls with a key.m3u8": HLS_WITH_KEY,
    "dash.mpd": DASH,
    "imf.xml": IMF,
    "concat.ffconcat": "ffconcat version 1.0\nfile '{path}'\n",
    "no header.concat": "file '{path}'\n",
    "session.sdp": SDP,
    "list.asx": '<asx version="3.0"><entry><ref href="{path}"/></entry></asx>',
    "list.xspf": "<?xml version='1.0'?><playlist><trackList><track><location>{path}</location>"
    "</track></trackList></playlist>",
    "list.pls": "[playlist]\nFile1={path}\n",
    "script.avs": 'Import("{path}")\nFFmpegSource2("{path}")\n',
    "subtitles.idx": "# VobSub index file, v7\nsize: 64x48\n"
    "timestamp: 00:00:00:001, filepos: 000000000\n# {path}\n",
    "redirect.rtsp": "RTSPtextRTSP://127.0.0.1/{name}\n",
    "list.txt": "file:{path}\n",
}


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("secret") / "secret.ts", audio=[Sound()])


def assert_refused_untouched(path: Path, secret: Path) -> None:
    readers: list[Callable[[Path], object]] = [
        probe,
        lambda path: next(read_frames(path)),
        extract_audio,
    ]
    with watch(secret) as secret_file:
        for read in readers:
            with pytest.raises(UnreadableInput):
                read(path)
        assert not secret_file.touched


def test_the_watch_sees_a_reading(secret: Path) -> None:
    with watch(secret) as secret_file:
        assert not secret_file.touched
        secret.read_bytes()
        assert secret_file.touched


@pytest.mark.parametrize("disguise", ["", ".mp4"])
@pytest.mark.parametrize("name", PLAYLISTS)
def test_playlists_are_refused(name: str, disguise: str, tmp_path: Path, secret: Path) -> None:
    path = tmp_path / (name + disguise)
    path.write_text(PLAYLISTS[name].format(path=secret, name=secret.name))
    assert_refused_untouched(path, secret)


@pytest.mark.parametrize(
    ("name", "options"),
    [("hls.m3u8", {"allowed_extensions": "ALL"}), ("concat.ffconcat", {"safe": "0"})],
)
def test_ffmpeg_itself_follows_these_playlists(
    name: str, options: dict[str, str], tmp_path: Path, secret: Path
) -> None:
    (tmp_path / name).write_text(PLAYLISTS[name].format(path=secret, name=secret))
    with watch(secret) as secret_file:
        av.open(str(tmp_path / name), container_options=options).close()
        assert secret_file.touched


def test_the_message_names_the_playlist(tmp_path: Path, secret: Path) -> None:
    (tmp_path / "a.mp4").write_text(HLS.format(name=secret.name))
    with pytest.raises(UnsupportedVideo, match="HLS playlist; accepted are MP4"):
        probe(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    "name",
    [
        "concat:{path}|{path}",
        "file:{path}",
        "subfile,,start,0,end,0,,:{path}",
        "crypto:{path}",
        "cache:{path}",
        "tee:{path}",
        "data:text/plain,ffconcat%20version%201.0",
        "http://127.0.0.1:9/{path}",
        "lavfi:movie={path}",
        "movie={path}",
        "pipe:0",
        "fd:0",
        "async:file:{path}",
        "glob:{path}*",
    ],
)
def test_protocols_are_only_file_names(name: str, secret: Path) -> None:
    assert_refused_untouched(Path(name.format(path=secret)), secret)


def test_a_file_whose_name_looks_like_a_protocol_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.rename(make_clip(tmp_path / "a.mp4"), "concat:a|b%03d.mp4")  # noqa: PTH104
    assert probe("concat:a|b%03d.mp4").width == 64


def test_image_patterns_are_only_file_names(tmp_path: Path) -> None:
    for number in range(3):
        make_clip(tmp_path / f"i{number}.png", num_frames=1, codec="png", pix_fmt="rgb24")
    with watch(tmp_path / "i1.png") as picture:
        with pytest.raises(UnreadableVideo, match="No such file"):
            probe(tmp_path / "i%d.png")
        (tmp_path / "i%d.png").write_bytes((tmp_path / "i2.png").read_bytes())
        with pytest.raises(UnsupportedVideo, match="a PNG image"):
            probe(tmp_path / "i%d.png")
        assert not picture.touched


def external_movie(path: Path, secret: Path) -> Path:
    clip = make_clip(path.with_suffix(".plain.mov"), audio=[Sound()])
    entry = data_reference(b"alis", alias_record(str(secret)), self_contained=False)
    path.write_bytes(
        rewrite_boxes(clip.read_bytes(), lambda kind, body: entry if kind == b"dref" else body)
    )
    return path


def test_a_movie_with_its_media_elsewhere_is_refused(tmp_path: Path, secret: Path) -> None:
    movie = external_movie(tmp_path / "a.mov", secret)
    assert_refused_untouched(movie, secret)
    with pytest.raises(UnsupportedVideo, match=r"another file .*'alis'.* self-contained"):
        probe(movie)


def test_ffmpeg_can_be_told_to_follow_that_movie(tmp_path: Path, secret: Path) -> None:
    movie = external_movie(tmp_path / "a.mov", secret)
    options = {"enable_drefs": "1", "use_absolute_path": "1"}
    with watch(secret) as secret_file:
        av.open(str(movie), container_options=options).close()
        assert secret_file.touched


def test_without_the_first_lock_the_others_hold(
    tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demux, "refuse_references", lambda *_: None)
    movie = external_movie(tmp_path / "a.mov", secret)
    with watch(secret) as secret_file:
        with pytest.raises(UnreadableVideo):
            probe(movie)
        assert not secret_file.touched


@pytest.mark.parametrize("kind", [b"url ", b"urn ", b"alis", b"rsrc"])
def test_every_external_data_reference_is_refused(kind: bytes, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4").read_bytes()
    entry = data_reference(kind, b"http://127.0.0.1:9/x\0", self_contained=False)
    path = tmp_path / "b.mp4"
    path.write_bytes(rewrite_boxes(clip, lambda name, body: entry if name == b"dref" else body))
    with pytest.raises(UnsupportedVideo, match="keeps media in another file"):
        probe(path)


def test_a_reference_movie_is_refused(tmp_path: Path) -> None:
    def add_reference_movie(kind: bytes, body: bytes) -> bytes:
        return b"\0\0\0\x08rmra" + body if kind == b"moov" else body

    clip = make_clip(tmp_path / "a.mov").read_bytes()
    (tmp_path / "b.mov").write_bytes(rewrite_boxes(clip, add_reference_movie))
    with pytest.raises(UnsupportedVideo, match="a reference movie"):
        probe(tmp_path / "b.mov")


@pytest.mark.parametrize(
    ("link", "words"),
    [
        (element(0x1549A966, element(0x3EB923, b"u" * 16)), "a next segment"),
        (element(0x1549A966, element(0x3CB923, b"u" * 16)), "a previous segment"),
        (element(0x1549A966, element(0x3C83AB, b"secret.mkv")), "a previous file"),
        (element(0x1549A966, element(0x3E83BB, b"secret.mkv")), "a next file"),
        (
            element(0x1043A770, element(0x45B9, element(0xB6, element(0x6E67, b"u" * 16)))),
            "a chapter in another segment",
        ),
    ],
)
def test_linked_matroska_segments_are_refused(link: bytes, words: str, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mkv").read_bytes()
    (tmp_path / "b.mkv").write_bytes(insert_into_segment(clip, link))
    with pytest.raises(UnsupportedVideo, match=words):
        probe(tmp_path / "b.mkv")


def test_an_ordinary_element_in_the_same_place_is_accepted(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mkv").read_bytes()
    tags = element(0x1254C367, b"")
    (tmp_path / "b.mkv").write_bytes(insert_into_segment(clip, tags))
    assert probe(tmp_path / "b.mkv").width == 64


def test_a_hostile_nesting_is_walked_in_bounded_time(tmp_path: Path) -> None:
    nested = b""
    for _ in range(2000):
        nested = element(0x18538067, nested)
    (tmp_path / "deep.mkv").write_bytes(b"\x1a\x45\xdf\xa3\x80" + nested)
    moov = b""
    for _ in range(5000):
        moov = (8 + len(moov)).to_bytes(4, "big") + b"moov" + moov
    (tmp_path / "deep.mp4").write_bytes(moov)
    (tmp_path / "wide.mp4").write_bytes(b"\0\0\0\x08free" * 300_000)
    for name in ("deep.mkv", "deep.mp4", "wide.mp4"):
        with pytest.raises(UnreadableInput):
            probe(tmp_path / name)


def test_nothing_else_can_be_opened_by_a_demuxer() -> None:
    with pytest.raises(PermissionError, match="refers to another"):
        demux.refuse_io("file:/etc/passwd", 1, {})
