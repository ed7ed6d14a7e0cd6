from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from hypernet.decoders.blocks import GELU_GAIN, conv_specs, time_encoding, upsampling_conv


def test_time_encoding_is_sines_then_cosines() -> None:
    encoding = time_encoding(torch.tensor([0.0, 3.0]), 12, 3, 1.5)
    angles = [math.pi * 1.5**band * 3 / 12 for band in range(3)]
    expected = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    assert encoding[0].tolist() == [0, 0, 0, 1, 1, 1]
    assert encoding[1].tolist() == pytest.approx(expected, abs=1e-6)


def test_initial_convolutions_keep_the_scale_of_what_they_read() -> None:
    weight, bias = conv_specs("layer", 64, 32, 3)
    assert (weight.name, weight.shape) == ("layer.weight", (64, 32, 3, 3))
    assert (bias.name, bias.shape, bias.init_std) == ("layer.bias", (64,), 0.0)
    torch.manual_seed(0)
    kernels = torch.randn(weight.shape) * weight.init_std
    output = F.conv2d(torch.randn(1, 32, 20, 20), kernels)
    assert output.std().item() == pytest.approx(GELU_GAIN, rel=0.05)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 3])
def test_upsampling_multiplies_the_size(stride: int, kernel: int) -> None:
    weight = torch.randn(4 * stride**2, 5, kernel, kernel)
    output = upsampling_conv(torch.randn(2, 5, 6, 7), weight, torch.zeros(len(weight)), stride)
    assert output.shape == (2, 4, 6 * stride, 7 * stride)
