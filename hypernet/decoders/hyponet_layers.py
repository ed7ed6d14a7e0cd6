"""The layers of the hyponet; one home for rendering, training and prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernet.decoders.blocks import time_encoding
from hypernet.decoders.spectrum import CLIP_FRAMES

FREQUENCY_BASE = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerShape:
    """One convolution and the shuffle after it.

    Attributes:
        inputs: channels in.
        outputs: channels out, after the shuffle.
        strides: upsampling down and right.
        kernel: side of the kernel.
        factor_rows: groups of neighbouring filters that have factors of their own; 0 has none.
    """

    inputs: int
    outputs: int
    strides: tuple[int, int]
    kernel: int
    factor_rows: int

    @property
    def filters(self) -> int:
        """Channels before the shuffle."""
        return self.outputs * self.strides[0] * self.strides[1]

    @property
    def fan_in(self) -> int:
        """Values of one filter."""
        return self.inputs * self.kernel**2


def modulated(kernel_OIKK: Tensor, factors_BRF: Tensor) -> Tensor:
    """Filters ``(B, O, I, k, k)``: shipped values times factors, their norm kept."""
    repeats = len(kernel_OIKK) // factors_BRF.shape[1]
    shipped = kernel_OIKK.flatten(1)
    norms = torch.linalg.vector_norm(shipped, dim=1)[:, None]
    filters = F.normalize(shipped * factors_BRF.repeat_interleave(repeats, 1), dim=2)
    return torch.unflatten(filters * norms, 2, kernel_OIKK.shape[1:])


class TileRenderer:
    """The networks of a batch of tiles; their filters are made once.

    Args:
        layers: of the network.
        base: what is shipped: ``layerN.weight``, ``layerN.bias``, and ``layerN.factors``, from
            which the factors of a tile depart.
        departures: ``(B, rows, fan_in)`` by number of the layer, of those that are modulated.
    """

    def __init__(
        self,
        layers: Sequence[LayerShape],
        base: Mapping[str, Tensor],
        departures: Mapping[int, Tensor],
    ) -> None:
        self._layers = layers
        self._biases = [base[f"layer{n}.bias"] for n in range(len(layers))]
        self.filters = [
            modulated(base[f"layer{n}.weight"], base[f"layer{n}.factors"] + departures[n])
            if n in departures
            else base[f"layer{n}.weight"][None]
            for n in range(len(layers))
        ]

    def frames(self, times_N: Tensor) -> Tensor:
        """``(B, N, 3, h, w)`` RGB in [0, 1] at times in ``[0, CLIP_FRAMES)``."""
        return (torch.tanh(self.features(times_N).float()) * 0.5 + 0.5).transpose(0, 1)

    def features(self, times_N: Tensor) -> Tensor:
        """What the last layer gives, ``(N, B, C, h, w)``; one entry for all tiles if they agree."""
        frequencies = self._layers[0].inputs // 2
        encoding = time_encoding(times_N + 0.5, CLIP_FRAMES, frequencies, FREQUENCY_BASE)
        x = encoding[:, None, :, None, None]
        for layer, filters, bias in zip(self._layers, self.filters, self._biases, strict=True):
            activated = F.gelu(x) if layer is not self._layers[0] else x
            x = _shuffled(_convolved(activated, filters, bias), layer)
        return x


def _convolved(x_NBCHW: Tensor, filters_BOIKK: Tensor, bias_O: Tensor) -> Tensor:
    """``(N, B, O, h, w)``; what has one entry for all tiles is computed once."""
    times, tiles = x_NBCHW.shape[:2]
    sets, padding = len(filters_BOIKK), filters_BOIKK.shape[-1] // 2
    if sets == 1:
        result = F.conv2d(x_NBCHW.flatten(0, 1), filters_BOIKK[0], bias_O, padding=padding)
        return torch.unflatten(result, 0, (times, tiles))
    # Clips as groups of one convolution, as NeRV-Dec does.
    result = F.conv2d(
        x_NBCHW.flatten(1, 2),
        filters_BOIKK.flatten(0, 1),
        bias_O.repeat(sets),
        padding=padding,
        groups=tiles,
    )
    return torch.unflatten(result, 1, (sets, -1))


def _shuffled(x_NBOHW: Tensor, layer: LayerShape) -> Tensor:
    down, right = layer.strides
    if down == right == 1:
        return x_NBOHW
    times, tiles, _, height, width = x_NBOHW.shape
    x = x_NBOHW.view(times, tiles, layer.outputs, down, right, height, width)
    x = x.permute(0, 1, 2, 5, 3, 6, 4)
    return x.reshape(times, tiles, layer.outputs, height * down, width * right)
