"""Training clips decoded once into raw files, so that sampling a crop costs a memory map.

What cannot be used is skipped and named with its reason; training goes on with the rest.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from hypernet.errors import UnreadableInput
from hypernet.video.colour import rgb_of

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".y4m")
STILL_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedClip:
    """Frames of one source, ``(frames, height, width, 3)`` uint8; a still has one frame."""

    source: str
    file: str
    frames: int
    height: int
    width: int

    @property
    def prefix(self) -> str:
        """What groups sources: the name up to the first underscore, or ``stills``."""
        name = Path(self.source)
        return "stills" if self.frames == 1 else name.stem.split("_")[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameCache:
    """The usable clips of a folder, and why the others were left out."""

    folder: Path
    clips: tuple[CachedClip, ...]
    skipped: tuple[tuple[str, str], ...]

    def frames(self, clip: CachedClip) -> NDArray[np.uint8]:
        """Memory map of a clip's frames."""
        shape = (clip.frames, clip.height, clip.width, 3)
        return np.memmap(self.folder / clip.file, dtype=np.uint8, mode="r", shape=shape)


def build_cache(
    sources: Path, folder: Path, *, max_frames: int, min_side: int, min_frames: int
) -> FrameCache:
    """Decode what is new below ``sources`` into ``folder`` and describe everything that is usable.

    Args:
        sources: folder of videos and stills, searched recursively.
        folder: where raw frames go; reused when the settings and files are the same, replaced where
            a file has changed.
        max_frames: leading frames kept per video.
        min_side: sources with a shorter side below this are skipped.
        min_frames: videos with fewer frames are skipped.

    Raises:
        UnreadableInput: nothing usable was found.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clips: list[CachedClip] = []
    skipped: list[tuple[str, str]] = []
    for path in sorted(p for p in sources.rglob("*") if p.is_file()):
        if path.suffix.lower() not in VIDEO_SUFFIXES + STILL_SUFFIXES:
            continue
        name = str(path.relative_to(sources))
        try:
            clip = _cached(path, name, folder, max_frames)
        except (av.FFmpegError, OSError, ValueError, IndexError) as error:
            skipped.append((name, f"cannot be read: {error}"))
            continue
        reason = _too_small(clip, min_side, min_frames)
        if reason:
            skipped.append((name, reason))
        else:
            clips.append(clip)
    if not clips:
        raise UnreadableInput(f"no usable clip under {sources}: {len(skipped)} were skipped")
    return FrameCache(folder=folder, clips=tuple(clips), skipped=tuple(skipped))


def _too_small(clip: CachedClip, min_side: int, min_frames: int) -> str:
    if min(clip.height, clip.width) < min_side:
        return f"{clip.width}x{clip.height} is smaller than a crop of {min_side}"
    if 1 < clip.frames < min_frames:
        return f"{clip.frames} frames are fewer than {min_frames}"
    return ""


def _cached(path: Path, name: str, folder: Path, max_frames: int) -> CachedClip:
    stat = path.stat()
    index = folder / f"{_key(path, max_frames)}.json"
    raw = folder / f"{_key(path, max_frames, stat.st_size, stat.st_mtime_ns)}.rgb"
    known = CachedClip(**json.loads(index.read_text())) if index.exists() else None
    if known is not None and known.file == raw.name:
        return known
    frames = _decode(path, max_frames)
    frames.tofile(raw)
    clip = CachedClip(
        source=name,
        file=raw.name,
        frames=frames.shape[0],
        height=frames.shape[1],
        width=frames.shape[2],
    )
    index.write_text(json.dumps(asdict(clip)))
    if known is not None:
        (folder / known.file).unlink(missing_ok=True)
    return clip


def _key(*parts: object) -> str:
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:16]


def _decode(path: Path, max_frames: int) -> NDArray[np.uint8]:
    limit = 1 if path.suffix.lower() in STILL_SUFFIXES else max_frames
    frames: list[NDArray[np.uint8]] = []
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            frames.append(rgb_of(frame))
            if len(frames) == limit:
                break
    if not frames:
        raise ValueError("it holds no frame")
    return np.stack(frames)
