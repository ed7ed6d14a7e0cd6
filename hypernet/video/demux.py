"""Opening media files safely: accepted formats only, and nothing but the file itself is ever read.

Three locks, each enough on its own for what it covers: FFmpeg refuses every demuxer outside the
list below before it parses anything (playlists, concat scripts, image patterns and devices are
demuxers), the file is handed over as an open descriptor so its name cannot select a protocol, and
any attempt of a demuxer to open something else fails.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

import av
import av.error
from av.container import Flags, InputContainer
from av.video.stream import VideoStream

from hypernet.errors import UnreadableVideo, UnsupportedVideo
from hypernet.video.references import refuse_references

#: Demuxers that may run, by FFmpeg's name.
FORMATS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,yuv4mpegpipe,ivf,nut,h264,hevc,obu,m4v,vvc"
)

#: Largest side and area of a frame, in pixels.
MAX_SIDE = 8192
MAX_PIXELS = 8192 * 4352

#: Flag of an output container: no random numbers, dates or versions in the file.
BITEXACT = cast("int", Flags.bitexact.value)

_GENERATE_PTS = cast("int", Flags.gen_pts.value)
_BUFFER_BYTES = 1 << 17

_FOREIGN = (
    (b"#EXTM3U", "an HLS playlist"),
    (b"<?xml", "an XML document, such as a DASH manifest"),
    (b"<MPD", "a DASH manifest"),
    (b"ffconcat", "a concat script"),
    (b"v=0", "an SDP session description"),
    (b"[playlist]", "a playlist"),
    (b"GIF8", "a GIF image"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"RIFF????WEBP", "a WebP image"),
    (b"RIFF????WAVE", "a sound file"),
    (b"ID3", "a sound file"),
    (b"fLaC", "a sound file"),
    (b"\x30\x26\xb2\x75", "an ASF/WMV file"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x89NRV", "an .nrv stream, not a source video"),
)


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file and its main video stream; the first that is not a cover picture.

    Raises:
        UnreadableVideo: missing, empty, damaged beyond use, or without video.
        UnsupportedVideo: a format, reference or size that is refused.
    """
    with open_container(path) as container:
        stream = _main_stream(path, container)
        codec = stream.codec_context
        check_size(path, codec.width, codec.height)
        # A stream that grows in the middle is stopped by the decoder before it allocates.
        codec.options = {"max_pixels": str(MAX_PIXELS)}
        codec.thread_type = "AUTO"
        # Invented timestamps would hide that the container has none.
        container.flags &= ~_GENERATE_PTS
        yield container, stream


@contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """Open a file whatever streams it holds; raises as ``open_video`` does."""
    with _open_file(path) as file:
        head = file.read(64)
        if not head:
            raise UnreadableVideo(f"{path} is empty")
        y4m = re.match(rb"YUV4MPEG2 W(\d{1,9}) H(\d{1,9}) ", head)
        if y4m is not None:  # its frames are read whole, before anything else is known
            check_size(path, int(y4m[1]), int(y4m[2]))
        refuse_references(path, file)
        file.seek(0)
        with _open_demuxer(path, file, head) as container:
            yield container


def check_size(path: Path, width: int, height: int) -> None:
    """Refuse frames beyond the limits, before any of them is decoded."""
    if width < 1 or height < 1:
        raise UnreadableVideo(
            f"{path} has no valid frame size: it is damaged, or its frames are far too large"
        )
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise UnsupportedVideo(
            f"{path} is {width}x{height}; at most {MAX_SIDE} pixels per side and {MAX_PIXELS} per "
            "frame are accepted: scale it down first"
        )


def _open_file(path: Path) -> BinaryIO:
    """Open by descriptor, so that FFmpeg never learns the name."""
    try:
        if path.is_dir():
            raise UnreadableVideo(f"{path} is a folder; name one video file")
        if path.exists() and not path.is_file():
            raise UnreadableVideo(f"{path} is not a regular file")
        return os.fdopen(os.open(path, os.O_RDONLY), "rb")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UnreadableVideo(f"{path} cannot be opened: {reason}") from error


def _open_demuxer(path: Path, file: BinaryIO, head: bytes) -> InputContainer:
    try:
        return av.open(
            file,
            mode="r",
            container_options={"format_whitelist": FORMATS, "protocol_whitelist": "file"},
            options={"max_pixels": str(MAX_PIXELS)},
            metadata_errors="replace",
            buffer_size=_BUFFER_BYTES,
            io_open=refuse_io,
        )
    except (av.error.FFmpegError, OSError, MemoryError, ValueError) as error:
        kind = _kind(head)
        if kind is not None or isinstance(error, av.error.ArgumentError):
            raise UnsupportedVideo(
                f"{path} is {kind or 'in a format that is not accepted'}; accepted are MP4/MOV, "
                "Matroska/WebM, AVI, MPEG-TS/PS, FLV, Ogg, Y4M, IVF, NUT and raw H.264, HEVC and "
                "AV1: convert it to one of them first"
            ) from error
        raise UnreadableVideo(f"{path} is not a video, or is damaged beyond use") from error


def _kind(head: bytes) -> str | None:
    """What an unaccepted file is, where its first bytes say so; for the message only."""
    for magic, kind in _FOREIGN:
        if len(head) >= len(magic) and all(
            expected in {byte, ord("?")} for expected, byte in zip(magic, head, strict=False)
        ):
            return kind
    return None


def refuse_io(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    """What FFmpeg calls to open anything besides the file it was given."""
    raise PermissionError(f"the file refers to another one ({url!r}, {flags}, {len(options)})")


def _main_stream(path: Path, container: InputContainer) -> VideoStream:
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            if stream.codec_context is None:
                raise UnsupportedVideo(f"{path} uses a video codec that is not supported here")
            return stream
    kind = "sound only" if container.streams.audio else "no video"
    raise UnreadableVideo(f"{path} holds {kind}; a file with a video stream is needed")
