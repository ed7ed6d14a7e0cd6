"""What a reader is prepared to accept. Part of the format: FORMAT.md lists the defaults."""

from __future__ import annotations

from dataclasses import dataclass

from hypernet.errors import InvalidStream


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Upper bounds, each inclusive, that are checked before anything is allocated.

    The defaults are the largest stream the format allows; a caller may tighten any of them.
    Together they bound the memory of reading one segment: its payload, four bytes per weight value,
    and a working set of a few times the largest clip.
    """

    max_width: int = 8192
    max_height: int = 8192
    max_pixels: int = 8192 * 4352
    max_frames: int = 10_000_000
    max_header_bytes: int = 1 << 16
    max_index_bytes: int = 1 << 24
    max_segments: int = 400_000
    max_segment_bytes: int = 1 << 28
    max_audio_bytes: int = 1 << 30
    max_metadata_bytes: int = 1 << 20
    max_frames_per_segment: int = 1 << 14
    max_clips_per_segment: int = 1 << 12
    max_tensors_per_clip: int = 1 << 10
    max_values_per_clip: int = 1 << 24
    max_values_per_segment: int = 1 << 26


DEFAULT_LIMITS = Limits()


def check_limit(what: str, value: int, limit: int) -> None:
    """Refuse a count or length above its limit.

    Raises:
        InvalidStream: ``value`` exceeds ``limit``.
    """
    if value > limit:
        raise InvalidStream(f"{what} is {value}, more than the limit of {limit}")
