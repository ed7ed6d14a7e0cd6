"""Tubelet decoder: motion, gains and a grid of weights per clip; small shipped kernels.

After NeRV-Enc (arXiv 2409.19429) and TeCoNeRV (arXiv 2602.16711): what is predicted and what is
shipped make one small network per clip. The first layer is a transposed convolution whose kernels
are shipped and whose input, the ``grid``, is sent; it paints the departure from a picture: mid-grey
for a key clip, else the nearest frame of another clip, moved. Its cells overlap (``lapped``). The
second layer moves the result along ``motion`` and ``sway``. The last two restore it, with gains
that each 64-pixel tile carries (``tiles``). Motion and gains are interpolated between their centres
and the restoring layers run over the whole frame, so no tile border can show.

Training starts from cosine patterns, which invert the transform that the predictor starts from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeGuard

import torch
from torch import Tensor

from hypernet.decoders.base import Decoder
from hypernet.decoders.clip_motion import SWAYS, sway_size
from hypernet.decoders.lapped import multiply_adds
from hypernet.decoders.native_tubelet import NativeClip, SparseGrid, can_render
from hypernet.decoders.spectrum import (
    CHROMA_CELL,
    CLIP_FRAMES,
    GRID_CELL,
    MAX_CHANNELS,
    spectrum,
)
from hypernet.decoders.tubelet_layers import (
    CHROMA_PLANES,
    LUMA_PLANES,
    TILE_CELLS,
    ClipRenderer,
    ClipWeights,
    painted_planes,
    whole_cells,
)
from hypernet.decoders.warp import field_size
from hypernet.errors import MissingDecodeFile
from hypernet.weights import ClipShape, WeightSpec

QUARTER_PLANES = LUMA_PLANES + CHROMA_PLANES
MAX_WIDTH = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class TubeletConfig:
    """Sizes of the tubelet decoder; goes on the wire.

    Attributes:
        grid_channels: values per 16x16-pixel cell of a clip, nearly all of them zero.
        tile_channels: values per 64x64-pixel tile of a clip.
        width: channels of the restoring layers, at 1/4 resolution.
    """

    grid_channels: int = 1552
    tile_channels: int = 12
    width: int = 24

    def __post_init__(self) -> None:
        limits = {"grid_channels": MAX_CHANNELS, "tile_channels": MAX_WIDTH, "width": MAX_WIDTH}
        for name, limit in limits.items():
            value = getattr(self, name)
            if not 1 <= value <= limit:
                raise ValueError(f"{name} is {value}, not in 1..{limit}")
        if self.grid_channels < 64:
            raise ValueError(f"grid_channels is {self.grid_channels}, not at least 64")


def base_shapes(config: TubeletConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the shipped kernels, in file order."""
    patterns = spectrum(config.grid_channels)
    width = config.width
    return {
        "time": (CLIP_FRAMES, CLIP_FRAMES),
        "luma": (GRID_CELL**2, patterns.luma_patterns),
        "chroma": (CHROMA_CELL**2, patterns.chroma_patterns),
        "gains.weight": (2 * width, config.tile_channels, 1, 1),
        "gains.bias": (2 * width,),
        "restore_in.weight": (width, QUARTER_PLANES, 3, 3),
        "restore_in.bias": (width,),
        "restore_out.weight": (48, width + QUARTER_PLANES, 1, 1),
        "restore_out.bias": (48,),
    }


def grid_size(height: int, width: int) -> tuple[int, int]:
    """Grid cells that cover a frame."""
    return math.ceil(height / GRID_CELL), math.ceil(width / GRID_CELL)


def tile_size(height: int, width: int) -> tuple[int, int]:
    """Tiles that cover a frame."""
    rows, columns = grid_size(height, width)
    return math.ceil(rows / TILE_CELLS), math.ceil(columns / TILE_CELLS)


class Tubelet:
    """The decoder contract for one clip; see the module docstring for the idea.

    Args:
        config: sizes.
        clip: pixels of the clip; 1 to 8 frames, any height and width.
        base: shipped kernels, float32, as named by ``base_shapes``; without them the decoder
            describes its weights but cannot render.
    """

    name: ClassVar[str] = "tubelet"
    wire_id: ClassVar[int] = 7
    departs_from_reference: ClassVar[bool] = True

    def __init__(
        self, config: TubeletConfig, clip: ClipShape, base: Mapping[str, Tensor] | None = None
    ) -> None:
        if clip.frames > CLIP_FRAMES:
            raise ValueError(f"a tubelet has at most {CLIP_FRAMES} frames, not {clip.frames}")
        self.config = config
        self.clip = clip
        self._base = base

    def resized(self, clip: ClipShape) -> Tubelet:
        """The same decoder for clips of another shape."""
        return Tubelet(self.config, clip, self._base)

    def weight_specs(self) -> tuple[WeightSpec, ...]:
        """Motion, sway, gate, tile vectors, grid."""
        height, width = self.clip.height, self.clip.width
        rows, columns = grid_size(height, width)
        config = self.config
        return (
            WeightSpec(name="motion", shape=(6, *field_size(height, width)), init_std=1.0),
            WeightSpec(name="sway", shape=(2 * SWAYS, *sway_size(height, width)), init_std=0.1),
            WeightSpec(name="gate", shape=(1, rows, columns), init_std=0.0),
            WeightSpec(
                name="tiles", shape=(config.tile_channels, *tile_size(height, width)), init_std=0.1
            ),
            WeightSpec(name="grid", shape=(config.grid_channels, rows, columns), init_std=1.0),
        )

    def render(self, weights: Mapping[str, Tensor], times_N: Tensor) -> Tensor:
        """Frames at the given times, see ``hypernet.decoders.base.Decoder``.

        ``weights`` of a clip that is coded against another hold its nearest frame as ``reference``:
        ``(3, height, width)``, RGB.

        Raises:
            MissingDecodeFile: the decoder was made without shipped kernels.
        """
        only_B1 = times_N[None] if len(times_N) == 1 else None
        return self._bound(weights, only_B1)(times_N)

    def bind(self, weights: Mapping[str, Tensor]) -> Callable[[Tensor], Tensor]:
        """``render`` for these weights; raises as it does."""
        return self._bound(weights)

    def _bound(
        self, weights: Mapping[str, Tensor], only_B1: Tensor | None = None
    ) -> Callable[[Tensor], Tensor]:
        differentiated = any(value.requires_grad for value in weights.values())
        if self.has_kernels() and not differentiated:
            times = None if only_B1 is None else only_B1.flatten().tolist()
            return self.native(SparseGrid.of_dense(weights["grid"]), weights, times)
        stacked = {name: value[None] for name, value in weights.items()}
        batch = self.bind_batch(stacked, only_B1=only_B1)
        return lambda times_N: batch(times_N[None])[0]

    def has_kernels(self, dtype: torch.dtype = torch.float32) -> bool:
        """Whether C kernels can render its clips, in this precision, on its device."""
        return self._base is not None and can_render(self._base, dtype)

    def native(
        self,
        grid: SparseGrid,
        weights: Mapping[str, Tensor],
        times: Sequence[float] | None = None,
    ) -> NativeClip:
        """``bind`` by C kernels, see there; ``times`` are those that will be asked for."""
        size = (self.clip.height, self.clip.width)
        return NativeClip(self._kernels(), grid, weights, size, times)

    def bind_batch(
        self,
        weights_B: Mapping[str, Tensor],
        dtype: torch.dtype = torch.float32,
        only_B1: Tensor | None = None,
    ) -> Callable[[Tensor], Tensor]:
        """Clips of this shape in one batch: times ``(B, N)`` to ``frames_BNCHW``.

        Args:
            weights_B: a batch of each weight; all clips have a ``reference`` or none has.
            dtype: of the convolutions.
            only_B1: the one time of each clip that will be asked for, if there is but one.

        Raises:
            MissingDecodeFile: the decoder was made without shipped kernels.
        """
        base = self._kernels()
        reference = weights_B.get("reference")
        weights = ClipWeights(
            motion=weights_B["motion"],
            sway=weights_B["sway"],
            gate=weights_B["gate"],
            tiles=weights_B["tiles"],
            grid=weights_B["grid"],
            reference=None if reference is None else whole_cells(reference),
        )
        planes = painted_planes(base, weights, only_B1)
        clips = ClipRenderer(base, weights, planes, dtype)
        height, width = self.clip.height, self.clip.width
        return lambda times_BN: clips.frames(times_BN)[..., :height, :width].clamp(0.0, 1.0)

    def _kernels(self) -> Mapping[str, Tensor]:
        if self._base is None:
            raise MissingDecodeFile("a tubelet stream needs its decode file to be rendered")
        return self._base

    def multiply_adds_per_pixel(self) -> float:
        """Convolutions and matrix products; sampling adds fewer than ten a pixel.

        At most: patterns that a clip does not use are not painted.
        """
        height, width = self.clip.height, self.clip.width
        shapes = {name: math.prod(shape) for name, shape in base_shapes(self.config).items()}
        painted_and_mixed = sum(
            (len(part.channels) + CLIP_FRAMES) * (CHROMA_CELL if part.plane else GRID_CELL) ** 2
            for part in spectrum(self.config.grid_channels).parts
        )
        restored = GRID_CELL * (shapes["restore_in.weight"] + shapes["restore_out.weight"])
        gains = math.prod(tile_size(height, width)) * shapes["gains.weight"]
        cells = math.prod(grid_size(height, width))
        per_clip = cells * painted_and_mixed + gains + self._sway_multiply_adds()
        per_clip += CLIP_FRAMES * self._lap_multiply_adds()
        per_frame = cells * restored + self._field_multiply_adds()
        return (per_clip / self.clip.frames + per_frame) / (height * width)

    def _sway_multiply_adds(self) -> int:
        """Of what the squares of the motion make of the sway of a clip."""
        size = self.clip.height, self.clip.width
        (rows, columns), (down, across) = field_size(*size), sway_size(*size)
        if (rows, columns) == (down, across):
            return 0
        return 2 * SWAYS * rows * across * (down + columns)

    def _field_multiply_adds(self) -> int:
        """Of the fields that move luma and colour in a frame."""
        rows, columns = field_size(self.clip.height, self.clip.width)
        height, width = (n * GRID_CELL for n in grid_size(self.clip.height, self.clip.width))
        interpolated = sum(
            2 * h * columns * (rows + w) for h, w in ((height, width), (height // 2, width // 2))
        )
        return interpolated + SWAYS * (CLIP_FRAMES + 2 * rows * columns)

    def _lap_multiply_adds(self) -> int:
        """Of the filters across the borders of cells in a frame."""
        height, width = (n * GRID_CELL for n in grid_size(self.clip.height, self.clip.width))
        chroma = multiply_adds(height // 2, width // 2, CHROMA_CELL)
        return multiply_adds(height, width, GRID_CELL) + 2 * chroma

    def activation_bytes(self) -> int:
        """Upper bound for one frame: 24 float32 values per padded pixel, and the paintings."""
        cells = math.prod(tile_size(self.clip.height, self.clip.width)) * TILE_CELLS**2
        painted = 4 * CLIP_FRAMES * (GRID_CELL**2 + 2 * CHROMA_CELL**2)
        return cells * 4 * (24 * GRID_CELL**2 + painted)


def is_native(decoder: Decoder, dtype: torch.dtype = torch.float32) -> TypeGuard[Tubelet]:
    """Whether C kernels render the clips of a decoder."""
    return isinstance(decoder, Tubelet) and decoder.has_kernels(dtype)
