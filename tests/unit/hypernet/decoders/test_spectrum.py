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
def test_what_is_scattered_is_gathered(channels: int) -> None:
    patterns = spectrum(channels)
    grid = torch.randn(2, channels, 3, 4)
    dense = patterns.scatter(grid)
    assert dense.shape == (2, 8, patterns.patterns, 3, 4)
    assert int(dense.count_nonzero()) == grid.numel()
    assert torch.equal(patterns.gather(dense), grid)


def test_averages_come_first_and_fewer_channels_are_the_same_channels() -> None:
    assert spectrum(64).means == spectrum(784).means == (0, 1, 2)
