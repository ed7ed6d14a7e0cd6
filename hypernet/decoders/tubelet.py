"""Tubelet decoder: motion and a grid of weights per clip; small shipped kernels.

After NeRV-Enc (arXiv 2409.19429) and TeCoNeRV (arXiv 2602.16711): what is predicted and what is
shipped make one small network per clip. The first layer is a transposed convolution whose kernels
are shipped and whose input, the ``grid``, is sent; it paints the departure from a picture: mid-grey
for a key clip, else the nearest frame of another clip, moved. Its cells overlap (``lapped``). The
second layer moves the result along ``motion`` and ``sway``, the last makes colours of it. Motion is
interpolated between the centres of its squares, so no border of a square can show. Layers that
restore were there once and did harm (decision 41).

Training starts from cosine patterns, which invert the transform that the predictor starts from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeGuard

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
    ClipRenderer,
    ClipWeights,
    painted_planes,
    whole_cells,
)
from hypernet.decoders.warp import field_size
from hypernet.errors import MissingDecodeFile
from hypernet.weights import ClipShape, WeightSpec

MIN_CHANNELS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class TubeletConfig:
    """Sizes of the tubelet decoder; goes on the wire.

    Attributes:
        grid_channels: values per 16x16-pixel cell of a clip, nearly all of them zero.
    """

    grid_channels: int = 1552

    def __post_init__(self) -> None:
        if not MIN_CHANNELS <= self.grid_channels <= MAX_CHANNELS:
            allowed = f"{MIN_CHANNELS}..{MAX_CHANNELS}"
            raise ValueError(f"grid_channels is {self.grid_channels}, not in {allowed}")


def base_shapes(config: TubeletConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the shipped kernels, in file order."""
    patterns = spectrum(config.grid_channels)
    return {
        "time": (CLIP_FRAMES, CLIP_FRAMES),
        "luma": (GRID_CELL**2, patterns.luma_patterns),
        "chroma": (CHROMA_CELL**2, patterns.chroma_patterns),
    }


def grid_size(height: int, width: int) -> tuple[int, int]:
    """Grid cells that cover a frame."""
    return math.ceil(height / GRID_CELL), math.ceil(width / GRID_CELL)


class Tubelet:
    """The decoder contract for one clip; see the module docstring for the idea.

    Args:
        config: sizes.
        clip: pixels of the clip; 1 to 8 frames, any height and width.
        base: shipped kernels, float32, as named by ``base_shapes``; without them the decoder
            describes its weights but cannot render.
    """

    name: ClassVar[str] = "tubelet"
    wire_id: ClassVar[int] = 9
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
        """Motion, sway, gate, grid."""
        height, width = self.clip.height, self.clip.width
        rows, columns = grid_size(height, width)
        return (
            WeightSpec(name="motion", shape=(6, *field_size(height, width)), init_std=1.0),
            WeightSpec(name="sway", shape=(2 * SWAYS, *sway_size(height, width)), init_std=0.1),
            WeightSpec(name="gate", shape=(1, rows, columns), init_std=0.0),
            WeightSpec(name="grid", shape=(self.config.grid_channels, rows, columns), init_std=1.0),
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

    def has_kernels(self) -> bool:
        """Whether C kernels can render its clips, on its device."""
        return self._base is not None and can_render(self._base)

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
        only_B1: Tensor | None = None,
    ) -> Callable[[Tensor], Tensor]:
        """Clips of this shape in one batch: times ``(B, N)`` to ``frames_BNCHW``.

        Args:
            weights_B: a batch of each weight; all clips have a ``reference`` or none has.
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
            grid=weights_B["grid"],
            reference=None if reference is None else whole_cells(reference),
        )
        planes = painted_planes(base, weights, only_B1)
        clips = ClipRenderer(base, weights, planes)
        height, width = self.clip.height, self.clip.width
        return lambda times_BN: clips.frames(times_BN)[..., :height, :width].clamp(0.0, 1.0)

    def _kernels(self) -> Mapping[str, Tensor]:
        if self._base is None:
            raise MissingDecodeFile("a tubelet stream needs its decode file to be rendered")
        return self._base

    def multiply_adds_per_pixel(self) -> float:
        """Matrix products; sampling adds fewer than ten a pixel.

        At most: patterns that a clip does not use are not painted.
        """
        height, width = self.clip.height, self.clip.width
        painted_and_mixed = sum(
            (len(part.channels) + CLIP_FRAMES) * (CHROMA_CELL if part.plane else GRID_CELL) ** 2
            for part in spectrum(self.config.grid_channels).parts
        )
        cells = math.prod(grid_size(height, width))
        per_clip = cells * painted_and_mixed + self._sway_multiply_adds()
        per_clip += CLIP_FRAMES * self._lap_multiply_adds()
        per_frame = self._field_multiply_adds() + 3 * 3 * cells * GRID_CELL**2
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
            2 * h * (columns * rows + (columns + 2) * w)
            for h, w in ((height, width), (height // 2, width // 2))
        )
        return interpolated + SWAYS * (CLIP_FRAMES + 2 * rows * columns)

    def _lap_multiply_adds(self) -> int:
        """Of the filters across the borders of cells in a frame."""
        height, width = (n * GRID_CELL for n in grid_size(self.clip.height, self.clip.width))
        chroma = multiply_adds(height // 2, width // 2, CHROMA_CELL)
        return multiply_adds(height, width, GRID_CELL) + 2 * chroma

    def activation_bytes(self) -> int:
        """Upper bound for one frame: 24 float32 values per padded pixel, and the paintings."""
        cells = math.prod(grid_size(self.clip.height, self.clip.width))
        painted = 4 * CLIP_FRAMES * (GRID_CELL**2 + 2 * CHROMA_CELL**2)
        return cells * 4 * (24 * GRID_CELL**2 + painted)


def is_native(decoder: Decoder) -> TypeGuard[Tubelet]:
    """Whether C kernels render the clips of a decoder."""
    return isinstance(decoder, Tubelet) and decoder.has_kernels()
