"""Tubelet decoder: a grid of weights plus, per tile, gains and motion of a small network.

After NeRV-Enc (arXiv 2409.19429) and TeCoNeRV (arXiv 2602.16711): a predicted part and a shipped
part make one small network per clip. Here the first feature map itself is predicted (``grid``) and
each 64-pixel tile carries a vector (``tiles``) that becomes per-channel gains of the shipped
kernels, what the grid departs from, and the motion of the tile. All three are interpolated between
tile centres and every layer is a convolution over the whole frame, so no tile border can show.

Training starts from a plain cosine transform (``colour``), to which the network adds; it learns
several times faster than from random kernels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernet.errors import MissingDecodeFile
from hypernet.weights import ClipShape, WeightSpec

GRID_CELL = 16
"""Pixels along each side of a grid cell."""
TILE_CELLS = 4
"""Grid cells along each side of a tile."""
CLIP_FRAMES = 8
"""Frames that the temporal kernels span."""
MAX_CHANNELS = 384
MOTION_TERMS = 4
"""Velocity and acceleration, each with x and y."""
COLOUR_SIDE = 8
"""Colours along each side of a cell: averages of 2x2 pixels."""
COLOUR_VALUES = CLIP_FRAMES * 3 * COLOUR_SIDE**2
"""Temporal spectrum of the colours of a cell."""
MAX_MOTION = 64.0
MOTION_SCALE = 8.0
"""Pixels of displacement at the ends of the clip for a predicted velocity of one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TubeletConfig:
    """Sizes of the tubelet decoder; goes on the wire.

    Attributes:
        grid_channels: values sent per 16x16-pixel cell of a clip.
        tile_channels: values sent per 64x64-pixel tile of a clip.
        trunk_width: channels at 1/8 resolution, computed once per clip.
        canvas_width: channels at 1/2 resolution that are moved along the motion.
        frame_width: channels at 1/8 resolution, computed per frame.
        detail_width: channels at 1/4 resolution, computed per frame.
        head_width: channels at 1/4 resolution before the last convolution.
    """

    grid_channels: int = 128
    tile_channels: int = 48
    trunk_width: int = 56
    canvas_width: int = 6
    frame_width: int = 32
    detail_width: int = 16
    head_width: int = 32

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if not 1 <= value <= MAX_CHANNELS:
                raise ValueError(f"{name} is {value}, not in 1..{MAX_CHANNELS}")


def base_shapes(config: TubeletConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the shipped kernels, in file order."""
    trunk, canvas, frame = config.trunk_width, 4 * config.canvas_width, config.frame_width
    detail, head = config.detail_width, config.head_width
    kernels = {
        "lift": (config.grid_channels, config.tile_channels, 1, 1),
        "stem": (4 * trunk, config.grid_channels, 1, 1),
        "gains": (3 * trunk + MOTION_TERMS, config.tile_channels, 1, 1),
        "trunk_in": (trunk, trunk, 3, 3),
        "trunk_out": (trunk, trunk, 3, 3),
        "motion": (MOTION_TERMS, trunk, 1, 1),
        "canvas_in": (4 * canvas, trunk, 1, 1),
        "canvas_out": (canvas, canvas, 1, 1),
        "frame_in": (CLIP_FRAMES * frame, trunk, 1, 1),
        "frame_mid": (frame, frame, 3, 3),
        "frame_out": (4 * detail, frame, 1, 1),
        "head_in": (head, canvas + detail, 1, 1),
        "head_out": (48, head + 12, 3, 3),
        "colour": (COLOUR_VALUES, config.grid_channels, 1, 1),
    }
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in kernels.items():
        shapes[f"{name}.weight"] = shape
        shapes[f"{name}.bias"] = shape[:1]
    return shapes


def temporal_cosines(times_N: Tensor) -> Tensor:
    """Values of the temporal cosine patterns at given times: ``(N, CLIP_FRAMES)``."""
    frequencies = torch.arange(CLIP_FRAMES, device=times_N.device)
    angles = torch.outer(2 * times_N + 1, frequencies) * (math.pi / (2 * CLIP_FRAMES))
    gains = torch.full((CLIP_FRAMES,), 0.5, device=times_N.device)
    gains[0] = math.sqrt(0.125)
    return torch.cos(angles) * gains


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


def render_clips(
    base: Mapping[str, Tensor], grid_BCHW: Tensor, tiles_BCHW: Tensor, times_N: Tensor
) -> Tensor:
    """Frames of several clips: ``frames_BNCHW``, RGB, not clamped, multiples of 16 pixels.

    Args:
        base: the shipped kernels of ``base_shapes``.
        grid_BCHW: weights per 16x16-pixel cell.
        tiles_BCHW: weights per 64x64-pixel tile; covers at least the grid.
        times_N: frame positions in ``[0, CLIP_FRAMES)``.
    """
    grid = grid_BCHW + lift_tiles(base, tiles_BCHW, *grid_BCHW.shape[-2:])
    features, motion = _trunk(base, grid, tiles_BCHW)
    canvas = _canvas(base, features)
    moved = _move(canvas, motion, times_N)
    detail = _details(base, features, times_N)
    head = torch.cat((F.pixel_unshuffle(moved, 2).to(detail.dtype), detail), dim=1)
    head = _activate(_convolve(base, "head_in", head))
    head = torch.cat((head, _colour(base, grid, times_N)), dim=1)
    # Zeros beyond the border would darken it.
    head = F.pad(head, (1, 1, 1, 1), mode="replicate")
    frames = F.conv2d(head, base["head_out.weight"], base["head_out.bias"])
    frames = F.pixel_shuffle(frames, 4)
    return torch.unflatten(frames, 0, (grid_BCHW.shape[0], -1))


def lift_tiles(base: Mapping[str, Tensor], tiles_BCHW: Tensor, rows: int, columns: int) -> Tensor:
    """What the tiles say about each grid cell; the grid that is sent is the departure from it.

    The predictor subtracts exactly this, hence float32 always.
    """
    with torch.autocast(tiles_BCHW.device.type, enabled=False):
        lifted = _convolve(base, "lift", tiles_BCHW)
        lifted = F.interpolate(
            lifted, scale_factor=TILE_CELLS, mode="bilinear", align_corners=False
        )
    return lifted[..., :rows, :columns]


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

    def __init__(
        self, config: TubeletConfig, clip: ClipShape, base: Mapping[str, Tensor] | None = None
    ) -> None:
        if clip.frames > CLIP_FRAMES:
            raise ValueError(f"a tubelet has at most {CLIP_FRAMES} frames, not {clip.frames}")
        self.config = config
        self.clip = clip
        self._base = base

    def weight_specs(self) -> tuple[WeightSpec, ...]:
        """The tile vectors, then the grid."""
        rows, columns = grid_size(self.clip.height, self.clip.width)
        tile_rows, tile_columns = tile_size(self.clip.height, self.clip.width)
        config = self.config
        return (
            WeightSpec(
                name="tiles", shape=(config.tile_channels, tile_rows, tile_columns), init_std=0.1
            ),
            WeightSpec(name="grid", shape=(config.grid_channels, rows, columns), init_std=1.0),
        )

    def render(self, weights: Mapping[str, Tensor], times_N: Tensor) -> Tensor:
        """Frames at the given times, see ``hypernet.decoders.base.Decoder``.

        Raises:
            MissingDecodeFile: the decoder was made without shipped kernels.
        """
        if self._base is None:
            raise MissingDecodeFile("a tubelet stream needs its decode file to be rendered")
        frames = render_clips(self._base, weights["grid"][None], weights["tiles"][None], times_N)[0]
        return frames[..., : self.clip.height, : self.clip.width].clamp(0.0, 1.0)

    def multiply_adds_per_pixel(self) -> float:
        """Of one frame rendered alone; frames of one clip share about half of it."""
        cells_per_pixel = {"stem": 1 / 256, "colour": 1 / 256, "gains": 1 / 4096, "lift": 1 / 4096}
        quarter = {"canvas_out", "head_in", "head_out"}
        total = 0.0
        for name, shape in base_shapes(self.config).items():
            layer, kind = name.split(".")
            if kind == "weight":
                frames = CLIP_FRAMES if layer in {"frame_in", "colour"} else 1
                area = cells_per_pixel.get(layer, 1 / 16 if layer in quarter else 1 / 64)
                total += math.prod(shape) * area / frames
        return total

    def activation_bytes(self) -> int:
        """Upper bound for one frame: about 40 float32 values per padded pixel."""
        rows, columns = grid_size(self.clip.height, self.clip.width)
        return rows * columns * GRID_CELL * GRID_CELL * 4 * 40


def _trunk(base: Mapping[str, Tensor], grid: Tensor, tiles: Tensor) -> tuple[Tensor, Tensor]:
    """Features at 1/8 resolution and displacement terms at 1/8 resolution, once per clip."""
    height, width = 2 * grid.shape[-2], 2 * grid.shape[-1]
    gains = _convolve(base, "gains", tiles).float()
    gains = F.interpolate(gains, scale_factor=2 * TILE_CELLS, mode="bilinear", align_corners=False)
    gains = gains[..., :height, :width]
    trunk = base["trunk_in.weight"].shape[0]
    scale_in, shift, scale_out, tile_motion = torch.split_with_sizes(
        gains, (trunk, trunk, trunk, MOTION_TERMS), 1
    )
    features = F.pixel_shuffle(_convolve(base, "stem", grid), 2)
    features = _activate(features * (1 + scale_in) + shift)
    residual = _activate(_convolve(base, "trunk_in", features))
    features = features + _convolve(base, "trunk_out", residual) * (1 + scale_out)
    motion = _convolve(base, "motion", features).float() + tile_motion
    # Damaged weights may hold anything, and sampling at NaN reads outside of memory.
    return features, motion.nan_to_num(0.0).clamp(-MAX_MOTION, MAX_MOTION)


def _canvas(base: Mapping[str, Tensor], features: Tensor) -> Tensor:
    """The picture that moves: channels at 1/2 resolution, once per clip."""
    canvas = _activate(F.pixel_shuffle(_convolve(base, "canvas_in", features), 2))
    return F.pixel_shuffle(_convolve(base, "canvas_out", canvas), 2)


def _move(canvas: Tensor, motion: Tensor, times_N: Tensor) -> Tensor:
    """The canvas displaced to each time: ``(B*N, C, H/2, W/2)``, float32."""
    clips, _, height, width = canvas.shape
    motion = F.interpolate(motion, scale_factor=4, mode="bilinear", align_corners=False)
    phase = clip_phase(times_N).view(1, -1, 1, 1, 1)
    velocity, acceleration = motion[:, None, :2], motion[:, None, 2:]
    shift = (velocity * phase + acceleration * phase.square()) * MOTION_SCALE
    x = (torch.arange(width, device=canvas.device) + 0.5) * (2 / width) - 1
    y = (torch.arange(height, device=canvas.device) + 0.5) * (2 / height) - 1
    # One pixel is half a canvas sample, and the sampling grid spans [-1, 1].
    where = torch.stack((shift[:, :, 0] / width + x, shift[:, :, 1] / height + y[:, None]), dim=-1)
    times = times_N.shape[0]
    source = canvas.float().contiguous()[:, None].expand(-1, times, -1, -1, -1)
    return F.grid_sample(
        source.reshape(clips * times, *canvas.shape[1:]),
        where.flatten(0, 1),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )


def _colour(base: Mapping[str, Tensor], grid: Tensor, times_N: Tensor) -> Tensor:
    """Colours whose change over time is a sum of cosines: ``(B*N, 12, H/4, W/4)``, 2x2 each."""
    colour = _time_convolve(base, "colour", grid, temporal_cosines(times_N))
    return F.pixel_shuffle(colour, 4)


def _details(base: Mapping[str, Tensor], features: Tensor, times_N: Tensor) -> Tensor:
    """What motion cannot say: ``(B*N, C, H/4, W/4)`` from kernels that depend on time."""
    knots = torch.arange(CLIP_FRAMES, device=times_N.device)
    hats = (1 - (times_N[:, None] - knots).abs()).clamp(min=0)
    frames = _activate(_time_convolve(base, "frame_in", features, hats))
    frames = frames + _activate(_convolve(base, "frame_mid", frames))
    return F.pixel_shuffle(_convolve(base, "frame_out", frames), 2)


def _time_convolve(base: Mapping[str, Tensor], name: str, x: Tensor, mix_NK: Tensor) -> Tensor:
    """1x1 convolution whose kernel is, for each time, a mixture of ``CLIP_FRAMES`` kernels."""
    weight = base[f"{name}.weight"].view(CLIP_FRAMES, -1, x.shape[1])
    kernels = torch.einsum("nk,kfc->nfc", mix_NK, weight).flatten(0, 1)[..., None, None]
    bias = (mix_NK @ base[f"{name}.bias"].view(CLIP_FRAMES, -1)).flatten()
    frames = F.conv2d(x, kernels.to(x.dtype), bias.to(x.dtype))
    return torch.unflatten(frames, 1, (mix_NK.shape[0], -1)).flatten(0, 1)


def _convolve(base: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    weight = base[f"{name}.weight"]
    return F.conv2d(x, weight, base[f"{name}.bias"], padding=weight.shape[-1] // 2)


def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)
