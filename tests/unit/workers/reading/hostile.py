"""Files that were made to hurt."""

from __future__ import annotations

import struct
from pathlib import Path

from tests.clips import make_clip
from tests.unit.hypernet.video.containers import data_reference, rewrite_boxes

MANY = 10_000_000
FOREVER = 0xFFFF_FFFF


def huge_picture(path: Path) -> Path:
    """A Y4M file of 768 MiB a frame, if anybody believes it."""
    path.write_bytes(b"YUV4MPEG2 W16384 H16384 F25:1 Ip A1:1 C444\nFRAME\n" + bytes(1000))
    return path


def many_frames(path: Path) -> Path:
    """A QuickTime file of two frames whose tables say ten million."""
    whole = make_clip(path, num_frames=2, codec="rawvideo", pix_fmt="rgb24", container="mov")
    claims = (
        (b"stts", 8, MANY),
        (b"stsz", 8, MANY),
        (b"stsc", 12, MANY),  # all in one chunk
        (b"mvhd", 16, FOREVER),
        (b"mdhd", 16, FOREVER),
        (b"tkhd", 20, FOREVER),
        (b"elst", 8, FOREVER),
    )
    data = bytearray(whole.read_bytes())
    for kind, position, value in claims:
        start = data.index(kind, data.index(b"moov")) + 4 + position
        data[start : start + 4] = struct.pack(">I", value)
    path.write_bytes(data)
    return path


def playlist(path: Path) -> Path:
    path.write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n")
    return path


def concat(path: Path) -> Path:
    path.write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    return path


def external_reference(path: Path) -> Path:
    data = make_clip(path, num_frames=2, codec="mpeg4").read_bytes()
    entry = data_reference(b"url ", b"file:///etc/passwd\0", self_contained=False)
    path.write_bytes(rewrite_boxes(data, lambda kind, body: entry if kind == b"dref" else body))
    return path


def noise_in_a_container(path: Path) -> Path:
    """A valid index of frames that are none."""
    data = bytearray(make_clip(path, num_frames=8, codec="libx264").read_bytes())
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[start:end] = bytes(value * 73 % 256 for value in range(end - start))
    path.write_bytes(data)
    return path
