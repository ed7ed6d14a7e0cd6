"""Ways of keeping a video for training: each stores it, and loads batches of clips from that."""

from __future__ import annotations

import collections
import io
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hypernet.evaluation.load_readers import (
    DecordReader,
    FrameReader,
    JpegTarReader,
    MemoryReader,
    PyAvReader,
)
from hypernet.evaluation.load_source import FRAME_RATE, LoadSource
from hypernet.loader import NrvDataset, NrvLoader
from hypernet.loading.clip_choice import ClipOrder


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which clips, and how.

    Attributes:
        firsts: frame that each clip begins with.
        clip_frames: consecutive frames of a clip.
        batch_size: clips of a batch.
        workers: processes that decode.
        device: where batches are wanted.
    """

    firsts: Sequence[int]
    clip_frames: int
    batch_size: int
    workers: int
    device: torch.device


class LoadMethod(Protocol):
    """One way of keeping a video."""

    @property
    def name(self) -> str:
        """Short and unique."""
        ...

    @property
    def needs(self) -> str:
        """The module without which it does not run, or empty."""
        ...

    @property
    def uses_workers(self) -> bool:
        """Whether more processes can make it faster."""
        ...

    def store(self, source: LoadSource, folder: Path) -> Path:
        """The video as this method keeps it; made once, used again if found."""
        ...

    def batches(self, stored: Path, wanted: Wanted) -> Iterable[Tensor]:
        """Batches ``(B, T, 3, H, W)`` uint8 on the device, in order."""
        ...


def is_installed(method: LoadMethod) -> bool:
    """Whether the module that a method needs is there."""
    return not method.needs or find_spec(method.needs) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Nrv:
    """Our streams through our loader; ``together`` renders whole batches, else clip after clip."""

    preset: str
    quality: int
    together: bool = True
    needs: str = ""

    @property
    def name(self) -> str:
        """See ``LoadMethod``."""
        return f"nrv-{self.preset}" + ("" if self.together else "-one-by-one")

    @property
    def uses_workers(self) -> bool:
        """See ``LoadMethod``; one by one is for comparing with the same on the same device."""
        return self.together

    def store(self, source: LoadSource, folder: Path) -> Path:
        """See ``LoadMethod``."""

        def encode(output: Path) -> None:
            from hypernet.codec import encode_file  # noqa: PLC0415 -- needs a video library
            from hypernet.evaluation.encoders import (  # noqa: PLC0415 -- as above
                LOSSLESS_RGB,
                write_video,
            )
            from hypernet.plan import EncodeSettings  # noqa: PLC0415 -- as above

            video = output.with_suffix(".mkv")
            write_video(source.frames(), video, Fraction(FRAME_RATE), LOSSLESS_RGB)
            settings = EncodeSettings(preset=self.preset, quality=self.quality, device="cpu")
            encode_file(video, output, settings)
            video.unlink()

        return made_once(folder / f"{source.path.stem}-{self.preset}-q{self.quality}.nrv", encode)

    def batches(self, stored: Path, wanted: Wanted) -> Iterable[Tensor]:
        """See ``LoadMethod``."""
        if not self.together:
            return self._one_by_one(stored, wanted)
        return (_tensor(batch.frames) for batch in self.loader(stored, wanted))

    def loader(self, stored: Path, wanted: Wanted) -> NrvLoader:
        """What makes the batches."""
        return NrvLoader(
            _dataset(stored, wanted),
            batch_size=wanted.batch_size,
            workers=wanted.workers,
            device=wanted.device,
            shuffle=False,
        )

    def _one_by_one(self, stored: Path, wanted: Wanted) -> Iterator[Tensor]:
        dataset = _dataset(stored, wanted)
        renderer = dataset.renderer(wanted.device)
        for start in range(0, len(dataset), wanted.batch_size):
            numbers = range(start, min(start + wanted.batch_size, len(dataset)))
            yield torch.cat(
                [
                    torch.stack(dataset.rendered(renderer, dataset.pending([number])[1]))
                    for number in numbers
                ]
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class H264:
    """x264 medium, crf 23, a key frame every ``key_interval`` frames only, read by seeking."""

    key_interval: int
    reader: str
    uses_workers: bool = True

    @property
    def name(self) -> str:
        """See ``LoadMethod``."""
        return f"h264-gop{self.key_interval}-{self.reader}"

    @property
    def needs(self) -> str:
        """See ``LoadMethod``."""
        return {"pyav": "av"}.get(self.reader, self.reader)

    def store(self, source: LoadSource, folder: Path) -> Path:
        """See ``LoadMethod``."""

        def encode(output: Path) -> None:
            from hypernet.evaluation.encoders import (  # noqa: PLC0415 -- needs a video library
                EncoderSettings,
                write_video,
            )

            key = str(self.key_interval)
            settings = EncoderSettings(
                encoder="libx264",
                pixel_format="yuv420p",
                container="mp4",
                threads=1,
                # Without key frames at cuts, as in a long take: the joined clips have cuts enough.
                options={"preset": "medium", "crf": "23", "g": key, "sc_threshold": "0"},
            )
            write_video(source.frames(), output, Fraction(FRAME_RATE), settings)

        return made_once(folder / f"{source.path.stem}-gop{self.key_interval}.mp4", encode)

    def batches(self, stored: Path, wanted: Wanted) -> Iterable[Tensor]:
        """See ``LoadMethod``."""
        reader = PyAvReader(stored) if self.reader == "pyav" else DecordReader(stored)
        return through_data_loader(reader, wanted)


@dataclass(frozen=True, kw_only=True, slots=True)
class JpegTar:
    """Every frame a JPEG of quality 90, in one tar file."""

    name: str = "jpeg-tar"
    needs: str = "PIL"
    uses_workers: bool = True

    def store(self, source: LoadSource, folder: Path) -> Path:
        """See ``LoadMethod``."""

        def encode(output: Path) -> None:
            from PIL import Image  # noqa: PLC0415 -- an optional extra

            with tarfile.open(output, "w") as archive:
                for number, frame_HWC in enumerate(source.frames()):
                    data = io.BytesIO()
                    Image.fromarray(np.ascontiguousarray(frame_HWC)).save(data, "JPEG", quality=90)
                    member = tarfile.TarInfo(f"{number:06d}.jpg")
                    member.size = data.tell()
                    data.seek(0)
                    archive.addfile(member, data)

        return made_once(folder / f"{source.path.stem}-jpeg.tar", encode)

    def batches(self, stored: Path, wanted: Wanted) -> Iterable[Tensor]:
        """See ``LoadMethod``."""
        return through_data_loader(JpegTarReader(stored), wanted)


@dataclass(frozen=True, kw_only=True, slots=True)
class RawFrames:
    """uint8 frames in memory: copied by this process, or by the workers of a ``DataLoader``."""

    uses_workers: bool
    needs: str = ""

    @property
    def name(self) -> str:
        """See ``LoadMethod``."""
        return "ram-dataloader" if self.uses_workers else "ram"

    def store(self, source: LoadSource, folder: Path) -> Path:  # noqa: ARG002 - it is there
        """See ``LoadMethod``."""
        return source.path

    def batches(self, stored: Path, wanted: Wanted) -> Iterable[Tensor]:
        """See ``LoadMethod``; on a GPU, memory is pinned."""
        frames = torch.from_numpy(np.load(stored, allow_pickle=False))
        if self.uses_workers:
            return through_data_loader(MemoryReader(frames.share_memory_()), wanted)  # type: ignore[no-untyped-call]
        if wanted.device.type == "cuda":
            frames = frames.pin_memory()
        return self._copied(frames, wanted)

    def _copied(self, frames: Tensor, wanted: Wanted) -> Iterator[Tensor]:
        for start in range(0, len(wanted.firsts), wanted.batch_size):
            firsts = wanted.firsts[start : start + wanted.batch_size]
            clips = [frames[n : n + wanted.clip_frames] for n in firsts]
            if wanted.device.type == "cuda":
                clips = [clip.to(wanted.device, non_blocking=True) for clip in clips]
            yield torch.stack(clips).permute(0, 1, 4, 2, 3)


@dataclass(frozen=True, slots=True)
class _Clips(Dataset[Tensor]):
    reader: FrameReader
    wanted: Wanted = field(repr=False)

    def __len__(self) -> int:
        return len(self.wanted.firsts)

    def __getitem__(self, number: int) -> Tensor:
        return self.reader.read(self.wanted.firsts[number], self.wanted.clip_frames)


def through_data_loader(reader: FrameReader, wanted: Wanted) -> Iterator[Tensor]:
    """Batches by torch's ``DataLoader`` with its defaults, as most training loops have them."""
    on_gpu = wanted.device.type == "cuda"
    order = ClipOrder(len(wanted.firsts), shuffle=False)
    loader = DataLoader(
        _Clips(reader, wanted),
        sampler=order,
        batch_size=wanted.batch_size,
        num_workers=wanted.workers,
        pin_memory=on_gpu,
        multiprocessing_context="spawn" if wanted.workers else None,
    )
    batches = iter(loader)
    try:
        for clips in batches:
            moved = clips.to(wanted.device, non_blocking=True) if on_gpu else clips
            yield moved.permute(0, 1, 4, 2, 3)
    except GeneratorExit:
        # Workers that are ended while they send something abort.
        order.stop()
        collections.deque(batches, maxlen=0)
        raise


def made_once(path: Path, make: Callable[[Path], None]) -> Path:
    """The file, made by ``make`` unless it is there; never half of it."""
    if not path.exists():
        unfinished = path.with_name(f"unfinished-{path.name}")
        make(unfinished)
        unfinished.rename(path)
    return path


def _dataset(stored: Path, wanted: Wanted) -> NrvDataset:
    clips = [(0, first) for first in wanted.firsts]
    return NrvDataset(stored, frames=wanted.clip_frames, clips=clips)


def _tensor(frames: Tensor | list[Tensor]) -> Tensor:
    return frames if isinstance(frames, Tensor) else torch.stack(frames)
