from __future__ import annotations

import pytest
import torch

from hypernet.decoders.spectrum import colour_matrix, cosines, spatial_cosines, spectrum


@pytest.mark.parametrize("size", [8, 16])
def test_cosines_are_orthonormal(size: int) -> None:
    matrix = cosines(size)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(size), atol=1e-5, rtol=0)


def test_colours_are_orthonormal_and_grey_is_luma_only() -> None:
    matrix = colour_matrix()
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(3), atol=1e-6, rtol=0)
    torch.testing.assert_close((matrix @ torch.ones(3))[1:], torch.zeros(2), atol=1e-6, rtol=0)


def test_spatial_patterns_are_orthonormal() -> None:
    patterns = spatial_cosines(spectrum(784).luma_frequencies, 16)
    torch.testing.assert_close(patterns @ patterns.T, torch.eye(len(patterns)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [8, 64, 784])
def test_parts_hold_every_channel_once_where_the_dense_spectrum_has_it(channels: int) -> None:
    patterns = spectrum(channels)
    grid = torch.arange(1, channels + 1).view(1, channels, 1, 1).float()
    dense = torch.zeros(1, 8, patterns.patterns, 1, 1)
    starts = (0, patterns.luma_patterns, patterns.luma_patterns + patterns.chroma_patterns)
    for part in patterns.parts:
        dense[:, part.time, starts[part.plane] + part.patterns] = grid[:, part.channels]
    assert int(dense.count_nonzero()) == channels
    assert torch.equal(patterns.gather(dense), grid)


def test_averages_come_first_and_fewer_channels_are_the_same_channels() -> None:
    assert spectrum(64).means == spectrum(784).means == (0, 1, 2)
