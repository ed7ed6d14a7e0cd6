"""Tubelet decoder: motion, gains and a grid of weights per clip; small shipped kernels.

After NeRV-Enc (arXiv 2409.19429) and TeCoNeRV (arXiv 2602.16711): what is predicted and what is
shipped make one small network per clip. The first layer is a transposed convolution whose kernels
are shipped and whose input, the ``grid``, is sent; it paints the departure from a picture: mid-grey
for a key clip, else the nearest frame of another clip, moved. The second layer moves the result
along ``motion``. The last two restore it, with gains that each 64-pixel tile carries (``tiles``).
Motion and gains are interpolated between their centres and the restoring layers run over the whole
frame, so no tile border can show.

Training starts from cosine patterns, which invert the transform that the predictor starts from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernet.decoders.spectrum import (
    CHROMA_CELL,
    CLIP_FRAMES,
    GRID_CELL,
    MAX_CHANNELS,
    Spectrum,
    colour_matrix,
    spectrum,
)
from hypernet.decoders.warp import dense_field, field_size, halved, sample
from hypernet.errors import MissingDecodeFile
from hypernet.weights import ClipShape, WeightSpec

TILE_CELLS = 4
"""Grid cells along each side of a tile."""
QUARTER_PLANES = 24
"""Luma in 4x4 and two colour differences in 2x2 pixels, per quarter-size pixel."""
KERNEL_SCALE = 1 / 16
"""Of the painting kernels, so that stored values and their updates are near one."""
MAX_WIDTH = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class TubeletConfig:
    """Sizes of the tubelet decoder; goes on the wire.

    Attributes:
        grid_channels: values per 16x16-pixel cell of a clip, nearly all of them zero.
        tile_channels: values per 64x64-pixel tile of a clip.
        width: channels of the restoring layers, at 1/4 resolution.
    """

    grid_channels: int = 784
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


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipWeights:
    """Weights of a batch of clips, and the pictures that they depart from.

    Attributes:
        motion: ``(B, 4, h, w)`` per 32-pixel square: displacement in pixels of the last frame
            against the middle of the clip (x, y), then of the reference picture.
        gate: ``(B, 1, rows, cols)`` per cell: 0 departs from the reference, 1 from mid-grey.
        tiles: ``(B, tile_channels, h, w)``.
        grid: ``(B, grid_channels, rows, cols)``.
        reference: ``(B, 3, rows * 16, cols * 16)`` RGB, None for key clips.
    """

    motion: Tensor
    gate: Tensor
    tiles: Tensor
    grid: Tensor
    reference: Tensor | None = None


def grid_size(height: int, width: int) -> tuple[int, int]:
    """Grid cells that cover a frame."""
    return math.ceil(height / GRID_CELL), math.ceil(width / GRID_CELL)


def tile_size(height: int, width: int) -> tuple[int, int]:
    """Tiles that cover a frame."""
    rows, columns = grid_size(height, width)
    return math.ceil(rows / TILE_CELLS), math.ceil(columns / TILE_CELLS)


def clip_phase(times_N: Tensor) -> Tensor:
    """Times as -1 at the first frame of a clip to 1 at the last."""
    return 2 * times_N / (CLIP_FRAMES - 1) - 1


def planes_of(rgb_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Luma ``(B, 1, H, W)`` and colour differences ``(B, 2, H/2, W/2)``, zero for mid-grey."""
    colours = F.conv2d(rgb_BCHW - 0.5, colour_matrix().to(rgb_BCHW)[:, :, None, None])
    return colours[:, :1], F.avg_pool2d(colours[:, 1:], 2)


def departure_point(weights: ClipWeights) -> tuple[Tensor, Tensor] | None:
    """Planes that the grid is added to: the moved reference where the gate lets it through."""
    if weights.reference is None:
        return None
    luma, chroma = planes_of(weights.reference)
    field = dense_field(weights.motion[:, 2:], *luma.shape[-2:])
    gate = 1 - weights.gate.clamp(0, 1)
    open_luma = gate.repeat_interleave(GRID_CELL, 2).repeat_interleave(GRID_CELL, 3)
    open_chroma = gate.repeat_interleave(CHROMA_CELL, 2).repeat_interleave(CHROMA_CELL, 3)
    return (
        sample(luma, field, "bicubic") * open_luma,
        sample(chroma, halved(field), "bicubic") * open_chroma,
    )


def paint(
    base: Mapping[str, Tensor], grid_BCHW: Tensor, times_N: Tensor, patterns: Spectrum
) -> tuple[Tensor, Tensor]:
    """The first layer: luma ``(B, N, H, W)`` and colour differences ``(B, N, 2, H/2, W/2)``."""
    frames = times_N.shape[0]
    dense = patterns.scatter(grid_BCHW)
    batch, _, _, rows, columns = dense.shape
    mix = time_kernel(base["time"], times_N)
    mixed = torch.matmul(mix, dense.flatten(2)).view(batch * frames, -1, rows, columns)
    sizes = (patterns.luma_patterns, 2 * patterns.chroma_patterns)
    luma, chroma = torch.split_with_sizes(mixed, sizes, 1)
    luma = F.conv2d(luma, base["luma"][..., None, None] * KERNEL_SCALE)
    chroma = chroma.reshape(2 * batch * frames, -1, rows, columns)
    chroma = F.conv2d(chroma, base["chroma"][..., None, None] * KERNEL_SCALE)
    luma = F.pixel_shuffle(luma, GRID_CELL).view(batch, frames, *_scaled(rows, columns, GRID_CELL))
    chroma = F.pixel_shuffle(chroma, CHROMA_CELL)
    return luma, chroma.view(batch, frames, 2, *_scaled(rows, columns, CHROMA_CELL))


def time_kernel(time_TK: Tensor, times_N: Tensor) -> Tensor:
    """Temporal patterns at given times ``(N, 8)``, linear between frames."""
    knots = torch.arange(CLIP_FRAMES, device=times_N.device)
    return (1 - (times_N[:, None] - knots).abs()).clamp(min=0) @ time_TK


def move(
    motion_B2hw: Tensor, luma_BNHW: Tensor, chroma_BNCHW: Tensor, times_N: Tensor
) -> tuple[Tensor, Tensor]:
    """The second layer: both planes of each frame moved along the motion; frames on axis 0."""
    height, width = luma_BNHW.shape[-2:]
    luma, chroma = luma_BNHW.flatten(0, 1)[:, None], chroma_BNCHW.flatten(0, 1)
    if not motion_B2hw.any():
        return luma, chroma
    field = dense_field(motion_B2hw, height, width)
    phase = clip_phase(times_N).view(1, -1, 1, 1, 1)
    # What moves right is found to the left.
    fields = (-phase * field[:, None]).flatten(0, 1)
    return sample(luma, fields), sample(chroma, halved(fields))


def restore(base: Mapping[str, Tensor], tiles_BCHW: Tensor, luma: Tensor, chroma: Tensor) -> Tensor:
    """The last two layers: planes to RGB ``(B * N, 3, H, W)``."""
    planes = torch.cat((F.pixel_unshuffle(luma, 4), F.pixel_unshuffle(chroma, 2)), 1)
    frames = planes.shape[0] // tiles_BCHW.shape[0]
    gains = F.conv2d(tiles_BCHW, base["gains.weight"], base["gains.bias"])
    gains = F.interpolate(
        gains, scale_factor=TILE_CELLS * GRID_CELL // 4, mode="bilinear", align_corners=False
    )
    gains = gains[..., : planes.shape[-2], : planes.shape[-1]].repeat_interleave(frames, 0)
    gain, shift = gains.chunk(2, 1)
    hidden = F.conv2d(planes, base["restore_in.weight"], base["restore_in.bias"], padding=1)
    hidden = F.leaky_relu(torch.addcmul(shift, hidden, 1 + gain), 0.1)
    rgb = F.conv2d(
        torch.cat((planes, hidden), 1), base["restore_out.weight"], base["restore_out.bias"]
    )
    return F.pixel_shuffle(rgb, 4)


def render_clips(base: Mapping[str, Tensor], weights: ClipWeights, times_N: Tensor) -> Tensor:
    """Frames of several clips: ``frames_BNCHW``, RGB, not clamped, multiples of 16 pixels.

    Args:
        base: the shipped kernels of ``base_shapes``.
        weights: of the clips.
        times_N: frame positions in ``[0, CLIP_FRAMES)``.
    """
    luma, chroma = paint(base, weights.grid, times_N, spectrum(weights.grid.shape[1]))
    start = departure_point(weights)
    if start is not None:
        luma, chroma = luma + start[0], chroma + start[1][:, None]
    luma, chroma = move(weights.motion[:, :2], luma, chroma, times_N)
    return torch.unflatten(restore(base, weights.tiles, luma, chroma), 0, (-1, len(times_N)))


class Tubelet:
    """The decoder contract for one clip; see the module docstring for the idea.

    Args:
        config: sizes.
        clip: pixels of the clip; 1 to 8 frames, any height and width.
        base: shipped kernels, float32, as named by ``base_shapes``; without them the decoder
            describes its weights but cannot render.
    """

    name: ClassVar[str] = "tubelet"
    wire_id: ClassVar[int] = 5
    departs_from_reference: ClassVar[bool] = True

    def __init__(
        self, config: TubeletConfig, clip: ClipShape, base: Mapping[str, Tensor] | None = None
    ) -> None:
        if clip.frames > CLIP_FRAMES:
            raise ValueError(f"a tubelet has at most {CLIP_FRAMES} frames, not {clip.frames}")
        self.config = config
        self.clip = clip
        self._base = base

    def weight_specs(self) -> tuple[WeightSpec, ...]:
        """Motion, gate, tile vectors, grid."""
        height, width = self.clip.height, self.clip.width
        rows, columns = grid_size(height, width)
        config = self.config
        return (
            WeightSpec(name="motion", shape=(4, *field_size(height, width)), init_std=1.0),
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
        if self._base is None:
            raise MissingDecodeFile("a tubelet stream needs its decode file to be rendered")
        reference = weights.get("reference")
        batch = ClipWeights(
            motion=weights["motion"][None],
            gate=weights["gate"][None],
            tiles=weights["tiles"][None],
            grid=weights["grid"][None],
            reference=None if reference is None else whole_cells(reference[None]),
        )
        frames = render_clips(self._base, batch, times_N)[0]
        return frames[..., : self.clip.height, : self.clip.width].clamp(0.0, 1.0)

    def multiply_adds_per_pixel(self) -> float:
        """Of one frame rendered alone."""
        patterns = spectrum(self.config.grid_channels)
        shapes = base_shapes(self.config)
        paint_time = CLIP_FRAMES * patterns.patterns / GRID_CELL**2
        paint_space = math.prod(shapes["luma"]) + 2 * math.prod(shapes["chroma"])
        restoring = math.prod(shapes["restore_in.weight"]) + math.prod(shapes["restore_out.weight"])
        moving = 4 * (1 + 2 / 4) + 16 * (1 + 2 / 4) / CLIP_FRAMES
        return paint_time + paint_space / GRID_CELL**2 + restoring / 16 + moving

    def activation_bytes(self) -> int:
        """Upper bound for one frame: about 24 float32 values per padded pixel, and the spectrum."""
        rows, columns = grid_size(self.clip.height, self.clip.width)
        dense = 2 * CLIP_FRAMES * spectrum(self.config.grid_channels).patterns
        return rows * columns * 4 * (24 * GRID_CELL**2 + dense)


def whole_cells(frames: Tensor) -> Tensor:
    """Frames padded at the right and bottom to multiples of 16 pixels; the border repeats."""
    height, width = frames.shape[-2:]
    return F.pad(frames, (0, -width % GRID_CELL, 0, -height % GRID_CELL), mode="replicate")


def _scaled(rows: int, columns: int, cell: int) -> tuple[int, int]:
    return rows * cell, columns * cell
