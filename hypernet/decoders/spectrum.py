"""The grid of a tubelet clip as a sparse spectrum: which pattern each channel stands for.

A channel is one temporal and one spatial pattern in one of three colour planes: luma at full
resolution (cells of 16x16 pixels), two colour differences at half resolution (8x8). Of all such
patterns only the smoothest are sent; the rest is zero.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

CLIP_FRAMES = 8
"""Frames that the temporal patterns span."""
GRID_CELL = 16
"""Pixels along each side of a grid cell."""
CHROMA_CELL = GRID_CELL // 2
MAX_CHANNELS = 2048
_CHROMA_RANK = 4.0
"""How much later than luma a colour difference of the same frequency is chosen."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SpectrumPart:
    """Channels of one temporal pattern in one plane.

    Attributes:
        time: number of the temporal pattern.
        plane: 0 is luma, 1 and 2 are the colour differences.
        channels: of the grid, ``(n,)``.
        patterns: spatial patterns of the channels, ``(n,)``.
    """

    time: int
    plane: int
    channels: Tensor
    patterns: Tensor

    def of(self, chosen: Tensor) -> SpectrumPart:
        """Only the channels for which the boolean ``(n,)`` is true."""
        return replace(self, channels=self.channels[chosen], patterns=self.patterns[chosen])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Spectrum:
    """Places of the channels in the dense spectrum of a cell.

    The dense spectrum has, for each of 8 temporal patterns, ``luma_patterns`` then twice
    ``chroma_patterns`` spatial patterns.

    Attributes:
        index: ``(channels,)``, place of each channel in the flat dense spectrum.
        parts: channels that share a temporal pattern and a plane, with their spatial patterns.
        luma_frequencies: ``(luma_patterns, 2)``, vertical and horizontal.
        chroma_frequencies: ``(chroma_patterns, 2)``.
        means: the three channels that are constant over the cell and over time.
    """

    index: Tensor
    parts: tuple[SpectrumPart, ...]
    luma_frequencies: Tensor
    chroma_frequencies: Tensor
    means: tuple[int, int, int]

    @property
    def luma_patterns(self) -> int:
        """Spatial patterns of luma."""
        return len(self.luma_frequencies)

    @property
    def chroma_patterns(self) -> int:
        """Spatial patterns of each colour difference."""
        return len(self.chroma_frequencies)

    @property
    def patterns(self) -> int:
        """Spatial patterns of all three planes."""
        return self.luma_patterns + 2 * self.chroma_patterns

    def gather(self, dense_BKSHW: Tensor) -> Tensor:
        """The channels that are sent: ``(B, channels, H, W)``."""
        return dense_BKSHW.flatten(1, 2).index_select(1, self.index.to(dense_BKSHW.device))


@functools.cache
def spectrum(channels: int) -> Spectrum:
    """The ``channels`` patterns that natural video needs most, the most useful first."""
    # Kept for later calls, so it must not be made of tensors that only inference may use.
    with torch.inference_mode(mode=False):
        return _make_spectrum(channels)


def _make_spectrum(channels: int) -> Spectrum:
    patterns = [
        _Pattern(time=t, plane=p, vertical=v, horizontal=u)
        for p in range(3)
        for t in range(CLIP_FRAMES)
        for v in range(CHROMA_CELL if p else GRID_CELL)
        for u in range(CHROMA_CELL if p else GRID_CELL)
    ]
    kept = sorted(patterns, key=lambda pattern: pattern.rank)[:channels]
    luma = _frequencies(kept, chroma=False)
    chroma = _frequencies(kept, chroma=True)
    total = len(luma) + 2 * len(chroma)
    spatial = [(chroma if p.plane else luma).index((p.vertical, p.horizontal)) for p in kept]
    starts = (0, len(luma), len(luma) + len(chroma))
    places = [
        p.time * total + starts[p.plane] + place for p, place in zip(kept, spatial, strict=True)
    ]
    means = [i for i, p in enumerate(kept) if p.time == p.vertical == p.horizontal == 0]
    return Spectrum(
        index=torch.tensor(places),
        parts=tuple(_parts(kept, spatial)),
        luma_frequencies=torch.tensor(luma),
        chroma_frequencies=torch.tensor(chroma),
        means=(means[0], means[1], means[2]),
    )


def _parts(kept: list[_Pattern], spatial: list[int]) -> Iterator[SpectrumPart]:
    for plane in range(3):
        for time in range(CLIP_FRAMES):
            channels = [i for i, p in enumerate(kept) if (p.plane, p.time) == (plane, time)]
            if channels:
                yield SpectrumPart(
                    time=time,
                    plane=plane,
                    channels=torch.tensor(channels),
                    patterns=torch.tensor([spatial[i] for i in channels]),
                )


def used_channels(grid_BCHW: Tensor) -> Tensor:
    """Whether each channel holds anything: ``(C,)``, true for one in five of most clips."""
    values = grid_BCHW.flatten(2)
    # Ten times as fast as asking for any that is not zero.
    return ((values.amax(2) != 0) | (values.amin(2) != 0)).any(0)


def cosines(size: int) -> Tensor:
    """Orthonormal cosine transform: frequencies by samples."""
    samples = 2 * torch.arange(size) + 1
    matrix = torch.cos(torch.outer(torch.arange(size), samples) * (math.pi / (2 * size)))
    matrix[0] *= math.sqrt(0.5)
    return matrix * math.sqrt(2 / size)


def colour_matrix() -> Tensor:
    """Orthonormal: rows are luma and two colour differences, columns RGB."""
    rows = torch.tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, 2.0], [1.0, -1.0, 0.0]])
    lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return torch.div(rows, lengths)


def spatial_cosines(frequencies_N2: Tensor, side: int) -> Tensor:
    """Orthonormal spatial patterns ``(N, side * side)``."""
    line = cosines(side)
    rows, columns = line[frequencies_N2[:, 0]], line[frequencies_N2[:, 1]]
    return torch.flatten(rows[:, :, None] * columns[:, None, :], 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pattern:
    time: int
    plane: int
    vertical: int
    horizontal: int

    @property
    def rank(self) -> tuple[float, int, int]:
        """Energy falls with frequency; colour differences hold less than luma."""
        frequency = self.vertical + self.horizontal
        if self.time == frequency == 0:
            return (-1.0, self.plane, 0)
        late = _CHROMA_RANK if self.plane else 0.0
        return (1.6 * self.time**0.7 + frequency + late, self.plane, self.vertical)


def _frequencies(kept: list[_Pattern], *, chroma: bool) -> list[tuple[int, int]]:
    found = {(p.vertical, p.horizontal) for p in kept if (p.plane > 0) == chroma}
    return sorted(found, key=lambda frequency: (sum(frequency), frequency))
