"""Hyponet: the small NeRV of NeRV-Enc (arXiv 2409.19429) and TeCoNeRV (arXiv 2602.16711).

A tile starts as one pixel that knows only the time and is upsampled by convolutions and shuffles.
Kernels and biases are shipped; per tile and clip come factors: a filter is the shipped one times
its factors, scaled back to its norm. How many filters of each layer have factors of their own is
the allocation: alike for all layers (Trans-INR), on one layer (GINR), or chosen for each
(NeRV-Enc).

Two tilings: a frame as one tile, rendered at the size it was trained at and resized (NeRV-Enc), or
a grid of tiles at full resolution, the fewest that cover the frame, blended where they overlap
(TeCoNeRV).

Departures from what is published: factors are sent as departures from shipped ones, which costs
nothing where those will do; a filter keeps its shipped norm where published ones have unit norm, so
that layers have a gain; repeated factors are aligned with filters; the kernels of the second layer
may be single pixels, which reach the same maps with a ninth of the values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from hypernet.decoders.base import Weights
from hypernet.decoders.hyponet_layers import LayerShape, TileRenderer
from hypernet.decoders.spectrum import CLIP_FRAMES
from hypernet.decoders.tiling import TileSize, blend_tiles, tile_count
from hypernet.errors import MissingDecodeFile
from hypernet.weights import ClipShape, WeightSpec

MAX_WIDTH = 1024
MAX_STRIDE = 32
MAX_FREQUENCIES = 16
FACTOR_STD = 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class HyponetConfig:
    """Sizes of a hyponet, one entry per layer; goes on the wire.

    Attributes:
        whole_frame: 1 if one tile is the whole frame, 0 for a grid of tiles.
        frequencies: of the time encoding.
        widths: channels after each layer's shuffle; the last layer's are 3.
        strides_down: upsampling of each layer's shuffle, vertically.
        strides_right: the same, horizontally.
        kernels: side of each kernel, 1 or 3.
        factor_rows: groups of filters of each layer that have factors of their own.
    """

    whole_frame: int
    frequencies: int
    widths: tuple[int, ...]
    strides_down: tuple[int, ...]
    strides_right: tuple[int, ...]
    kernels: tuple[int, ...]
    factor_rows: tuple[int, ...]

    def __post_init__(self) -> None:
        lengths = {len(values) for values in self._per_layer()}
        if lengths != {len(self.widths)} or not self.widths or self.widths[-1] != 3:
            raise ValueError("every layer needs one entry of each list, the last has 3 channels")
        if self.whole_frame not in (0, 1) or not 1 <= self.frequencies <= MAX_FREQUENCIES:
            raise ValueError(f"whole_frame must be 0 or 1, frequencies 1..{MAX_FREQUENCIES}")
        if not all(1 <= width <= MAX_WIDTH for width in self.widths):
            raise ValueError(f"widths must lie in 1..{MAX_WIDTH}")
        strides = (*self.strides_down, *self.strides_right)
        if not all(1 <= stride <= MAX_STRIDE for stride in strides):
            raise ValueError(f"strides must lie in 1..{MAX_STRIDE}")
        if not all(kernel in (1, 3) for kernel in self.kernels):
            raise ValueError("kernels must be 1 or 3")
        if not any(self.factor_rows):
            raise ValueError("no layer has factors")
        for layer in self.layers():
            if layer.factor_rows and layer.filters % layer.factor_rows:
                raise ValueError(f"{layer.factor_rows} factor rows for {layer.filters} filters")

    def _per_layer(self) -> tuple[tuple[int, ...], ...]:
        strides = (self.strides_down, self.strides_right)
        return (self.widths, *strides, self.kernels, self.factor_rows)

    @property
    def tile(self) -> TileSize:
        """Height and width of a rendered tile."""
        return math.prod(self.strides_down), math.prod(self.strides_right)

    def layers(self) -> tuple[LayerShape, ...]:
        """The layers, first to last."""
        inputs = (2 * self.frequencies, *self.widths[:-1])
        return tuple(
            LayerShape(
                inputs=channels,
                outputs=width,
                strides=(down, right),
                kernel=kernel,
                factor_rows=rows,
            )
            for channels, width, down, right, kernel, rows in zip(
                inputs, *self._per_layer(), strict=True
            )
        )

    def tiles_of(self, height: int, width: int) -> int:
        """Tiles of a frame."""
        return 1 if self.whole_frame else tile_count(height, width, self.tile)


def base_shapes(config: HyponetConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the shipped kernels, in file order."""
    shapes: dict[str, tuple[int, ...]] = {}
    for number, layer in enumerate(config.layers()):
        kernel = (layer.filters, layer.inputs, layer.kernel, layer.kernel)
        shapes[f"layer{number}.weight"] = kernel
        shapes[f"layer{number}.bias"] = kernel[:1]
        if layer.factor_rows:
            shapes[factor_name(number)] = (layer.factor_rows, layer.fan_in)
    return shapes


def factor_name(number: int) -> str:
    """Of the tensor that holds the factors of a layer."""
    return f"layer{number}.factors"


class Hyponet:
    """The decoder contract for one clip; see the module docstring for the idea.

    Args:
        config: sizes.
        clip: pixels of the clip; 1 to 8 frames, any height and width.
        base: shipped kernels, float32, as named by ``base_shapes``; without them the decoder
            describes its weights but cannot render.
    """

    name: ClassVar[str] = "hyponet"
    wire_id: ClassVar[int] = 6
    departs_from_reference: ClassVar[bool] = False

    def __init__(
        self, config: HyponetConfig, clip: ClipShape, base: Mapping[str, Tensor] | None = None
    ) -> None:
        if clip.frames > CLIP_FRAMES:
            raise ValueError(f"a hyponet has at most {CLIP_FRAMES} frames, not {clip.frames}")
        self.config = config
        self.clip = clip
        self._base = base
        self._tiles = config.tiles_of(clip.height, clip.width)

    def weight_specs(self) -> tuple[WeightSpec, ...]:
        """Factors of each layer that has them: ``(rows, values per filter, tiles)``."""
        return tuple(
            WeightSpec(
                name=factor_name(number),
                shape=(layer.factor_rows, layer.fan_in, self._tiles),
                init_std=FACTOR_STD,
            )
            for number, layer in enumerate(self.config.layers())
            if layer.factor_rows
        )

    def render(self, weights: Weights, times_N: Tensor) -> Tensor:
        """Frames at the given times, see ``hypernet.decoders.base.Decoder``.

        Raises:
            MissingDecodeFile: the decoder was made without shipped kernels.
        """
        return self.bind(weights)(times_N)

    def bind(self, weights: Weights) -> Callable[[Tensor], Tensor]:
        """``render`` for these weights; raises as it does."""
        if self._base is None:
            raise MissingDecodeFile("a hyponet stream needs its decode file to be rendered")
        layers = self.config.layers()
        factors = {
            number: weights[factor_name(number)].permute(2, 0, 1)
            for number, layer in enumerate(layers)
            if layer.factor_rows
        }
        tiles = TileRenderer(layers, self._base, factors)
        return lambda times_N: self._assembled(tiles.frames(times_N))

    def _assembled(self, tiles_BNCHW: Tensor) -> Tensor:
        size = (self.clip.height, self.clip.width)
        if not self.config.whole_frame:
            return blend_tiles(tiles_BNCHW, *size)
        resized = F.interpolate(
            tiles_BNCHW[0], size=size, mode="bicubic", antialias=True, align_corners=False
        )
        return resized.clamp(0.0, 1.0)

    def multiply_adds_per_pixel(self) -> float:
        """Convolutions of all tiles; resizing and blending add a few dozen a pixel at most."""
        total, cells, copies = 0, 1, 1
        for layer in self.config.layers():
            copies = self._tiles if layer.factor_rows else copies
            total += copies * cells * layer.filters * layer.fan_in
            cells *= layer.strides[0] * layer.strides[1]
        return total / (self.clip.height * self.clip.width)

    def activation_bytes(self) -> int:
        """Set by the largest layer and the filters of all tiles, and the picture."""
        largest, filters, cells = 0, 0, 1
        for layer in self.config.layers():
            largest = max(largest, cells * (layer.filters + layer.inputs))
            filters = max(filters, layer.filters * layer.fan_in)
            cells *= layer.strides[0] * layer.strides[1]
        # A layer's input and output, before and after the shuffle; a filter and its factors.
        per_tile = 2 * max(largest, 8 * cells) + 4 * filters
        return 4 * ((self._tiles + 1) * per_tile + 16 * self.clip.height * self.clip.width)
