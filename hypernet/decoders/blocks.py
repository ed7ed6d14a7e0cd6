"""Pieces that decoders share. All are pure functions of tensors."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernet.weights import WeightSpec

HEAD_BIAS = "head.bias"  # every decoder's last tensor: the offset of R, G, B from mid grey
GELU_GAIN = 1.5  # keeps the variance of activations about constant through convolution and GELU


def time_encoding(times_N: Tensor, num_frames: int, frequencies: int, base: float) -> Tensor:
    """Sines and cosines of the normalised frame time (NeRV, arXiv 2110.13903).

    Args:
        times_N: frame positions in [0, num_frames).
        num_frames: frames of the clip.
        frequencies: number of octave-like bands.
        base: ratio between neighbouring frequencies.

    Returns:
        ``encoding_NE`` with ``E = 2 * frequencies``, float32.
    """
    exponents = torch.arange(frequencies, dtype=torch.float32, device=times_N.device)
    angles = (times_N[:, None] / num_frames) * (math.pi * base**exponents)
    return torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)


def conv_specs(
    name: str, out_channels: int, in_channels: int, kernel: int, gain: float = GELU_GAIN
) -> tuple[WeightSpec, WeightSpec]:
    """Weight and bias of a convolution, initialised for the gain of what follows."""
    std = gain / math.sqrt(in_channels * kernel * kernel)
    shape = (out_channels, in_channels, kernel, kernel)
    return (
        WeightSpec(name=f"{name}.weight", shape=shape, init_std=std),
        WeightSpec(name=f"{name}.bias", shape=(out_channels,), init_std=0.0),
    )


def upsampling_conv(x_NCHW: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    """Convolution, then pixel shuffle by ``stride`` (no activation)."""
    x_NCHW = F.conv2d(x_NCHW, weight, bias, padding=weight.shape[-1] // 2)
    return F.pixel_shuffle(x_NCHW, stride) if stride > 1 else x_NCHW


def depthwise_specs(name: str, channels: int, kernel: int) -> tuple[WeightSpec, WeightSpec]:
    """Weight and bias of a convolution that keeps its channels apart."""
    return (
        WeightSpec(
            name=f"{name}.weight", shape=(channels, 1, kernel, kernel), init_std=1.0 / kernel
        ),
        WeightSpec(name=f"{name}.bias", shape=(channels,), init_std=0.0),
    )
