"""The stem that NeRV and its relatives share: frame time -> small grid of channels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from hypernet.decoders.base import Weights
from hypernet.decoders.blocks import time_encoding
from hypernet.weights import ClipShape, WeightSpec

FREQUENCY_BASE = 1.25  # NeRV's spacing of the time encoding (arXiv 2110.13903)
MAX_FREQUENCIES = 96
MAX_WIDTH = 4096


class StemConfig(Protocol):
    """What the stem needs of a decoder's configuration."""

    @property
    def frequencies(self) -> int:
        """Waves of the time encoding."""
        ...

    @property
    def hidden(self) -> int:
        """Width of the first layer."""
        ...

    @property
    def scale(self) -> int:
        """Frame size over stem size."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeStem:
    """Two linear layers behind the time encoding; their output is ``channels x height x width``."""

    frequencies: int
    hidden: int
    channels: int
    height: int
    width: int

    @classmethod
    def of(cls, config: StemConfig, channels: int, clip: ClipShape) -> TimeStem:
        """The stem of a decoder for frames of a clip's size."""
        return cls(
            frequencies=config.frequencies,
            hidden=config.hidden,
            channels=channels,
            height=math.ceil(clip.height / config.scale),
            width=math.ceil(clip.width / config.scale),
        )

    @property
    def cells(self) -> int:
        """Places of the grid."""
        return self.height * self.width

    def specs(self) -> list[WeightSpec]:
        """What is sent for the stem, in wire order."""
        values = self.channels * self.cells
        return [
            WeightSpec(
                name="stem.hidden.weight",
                shape=(self.hidden, 2 * self.frequencies),
                init_std=1.5 / math.sqrt(self.frequencies),
            ),
            WeightSpec(name="stem.hidden.bias", shape=(self.hidden,), init_std=0.0),
            WeightSpec(
                name="stem.grid.weight",
                shape=(values, self.hidden),
                init_std=1.5 / math.sqrt(self.hidden),
            ),
            WeightSpec(name="stem.grid.bias", shape=(values,), init_std=0.0),
        ]

    def render(self, weights: Weights, times_N: Tensor, num_frames: int) -> Tensor:
        """The grid at the given times, ``(N, channels, height, width)``."""
        encoding = time_encoding(times_N, num_frames, self.frequencies, FREQUENCY_BASE)
        hidden = F.gelu(
            F.linear(encoding, weights["stem.hidden.weight"], weights["stem.hidden.bias"])
        )
        x = F.linear(hidden, weights["stem.grid.weight"], weights["stem.grid.bias"])
        return F.gelu(x.view(-1, self.channels, self.height, self.width))

    def multiply_adds(self) -> int:
        """Of one frame."""
        return self.hidden * (2 * self.frequencies + self.channels * self.cells)


def check_sizes(*, frequencies: int, widths: tuple[int, ...], strides: tuple[int, ...]) -> None:
    """Raise ValueError where a configuration that was read cannot be meant."""
    if not all(1 <= value <= MAX_WIDTH for value in widths):
        raise ValueError(f"widths must lie in 1..{MAX_WIDTH}")
    if not all(1 <= stride <= 8 for stride in strides):
        raise ValueError("strides must lie in 1..8")
    if not 1 <= frequencies <= MAX_FREQUENCIES:
        raise ValueError(f"frequencies must lie in 1..{MAX_FREQUENCIES}")
