"""A made-up landscape that moves like video: for the demo, and for tests without real clips.

Sky with drifting clouds, two ranges of textured hills panning at different speeds, water that
ripples, a bird that crosses, sensor noise: smooth and busy regions, parallax, occlusion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

NOISE_STD = 1.5  # of the sensor noise, in 8-bit levels


def landscape(
    width: int, height: int, num_frames: int, seed: int = 0
) -> Iterator[NDArray[np.uint8]]:
    """Frames of the clip, ``rgb_HWC`` 8 bit; equal arguments give equal frames.

    Args:
        width: at least 16.
        height: at least 16.
        num_frames: at 25 frames a second, for natural motion.
        seed: another seed is another landscape.
    """
    random = np.random.default_rng(seed)
    scene = _Scene(width, height, num_frames, random)
    for number in range(num_frames):
        picture = scene.paint(number)
        picture += random.normal(0, NOISE_STD, picture.shape).astype(np.float32)
        yield np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def sound(num_samples: int, sample_rate: int, seed: int = 0) -> NDArray[np.float32]:
    """Wind over water: filtered noise with slow swells and a two-note call; mono in [-1, 1]."""
    random = np.random.default_rng(seed)
    time = np.arange(num_samples) / sample_rate
    noise = np.convolve(random.normal(0, 1, num_samples), np.ones(24) / 24, mode="same")
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * 0.4 * time)
    call = np.where((time % 1.0) < 0.12, np.sin(2 * np.pi * (900 + 500 * (time % 0.12)) * time), 0)
    return np.asarray(np.clip(0.6 * swell * noise + 0.15 * call, -1, 1), dtype=np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Hill:
    """``texture`` and skyline (``ridge``) in [0, 1]; ``top`` of the range, from above."""

    texture: Plane
    ridge: Plane
    top: float


class _Scene:
    def __init__(
        self, width: int, height: int, num_frames: int, random: np.random.Generator
    ) -> None:
        self._shape, self._num_frames = (height, width), num_frames
        self._y, self._x = np.mgrid[0:height, 0:width].astype(np.float32) / height
        self._sky = _fractal(random, height, 2 * width)
        self._far, self._near = (_hill(random, self._shape, top) for top in (0.52, 0.68))

    def paint(self, number: int) -> NDArray[np.float32]:
        """The frame without noise, ``rgb_HWC`` in 0..255."""
        pan = number / 25 * self._shape[0]  # one picture height a second, at full speed
        clouds = np.clip(2.2 * (_window(self._sky, 0.06 * pan, self._shape) - 0.45), 0, 1)
        blue = _colour(70, 120, 200) + self._y[..., None] * _colour(110, 80, 30)
        picture = blue * (1 - clouds[..., None]) + 245 * clouds[..., None]
        picture = self._hill(picture, self._far, 0.12 * pan, _colour(95, 125, 120))
        picture = self._hill(picture, self._near, 0.3 * pan, _colour(60, 95, 45))
        return self._bird(self._water(picture, number), number)

    def _hill(
        self,
        picture: NDArray[np.float32],
        hill: _Hill,
        shift: float,
        colour: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        outline = hill.top - 0.25 * _window(hill.ridge, shift, (1, self._shape[1]))
        inside = np.clip((self._y - outline) * self._shape[0], 0, 1)[..., None]
        shade = 0.5 + _window(hill.texture, shift, self._shape)[..., None]
        return np.asarray(picture * (1 - inside) + inside * shade * colour, dtype=np.float32)

    def _water(self, picture: NDArray[np.float32], number: int) -> NDArray[np.float32]:
        start = int(0.82 * self._shape[0])
        depth = self._y[start:] - 0.8
        ripple = np.sin(self._y[start:] * 140 - number * 0.5 + 3 * np.sin(self._x[start:] * 9))
        mirrored = picture[start - 1 :: -1][: self._shape[0] - start]
        tint = 0.55 + 0.12 * ripple * np.clip(4 * depth, 0, 1)
        picture[start:] = mirrored * tint[..., None] + _colour(8, 22, 34)
        return picture

    def _bird(self, picture: NDArray[np.float32], number: int) -> NDArray[np.float32]:
        phase = number / max(1, self._num_frames)
        x = (phase * 1.2 - 0.1) * self._shape[1] / self._shape[0]
        dx, dy = np.abs(self._x - x), self._y - 0.25 - 0.05 * np.sin(9 * phase)
        wing = dy - 0.35 * dx * np.sin(number * 0.8)
        inside = (np.abs(wing) < 0.012 * (1.2 - dx / 0.09)) & (dx < 0.09)
        picture[inside] = _colour(25, 25, 30)
        return picture


def _hill(random: np.random.Generator, shape: tuple[int, int], top: float) -> _Hill:
    height, width = shape
    return _Hill(
        texture=_fractal(random, height, 3 * width), ridge=_fractal(random, 1, 3 * width), top=top
    )


def _colour(red: float, green: float, blue: float) -> NDArray[np.float32]:
    return np.array([red, green, blue], dtype=np.float32)


def _window(plane: Plane, shift: float, shape: tuple[int, int]) -> Plane:
    """``shape`` pixels of a periodic plane from column ``shift`` on, interpolated."""
    height, width = shape
    columns = np.arange(width) + shift
    left = np.floor(columns).astype(int)
    part = (columns - left).astype(np.float32)
    first, second = plane[:height].take([left, left + 1], axis=1, mode="wrap").swapaxes(0, 1)
    return np.asarray(first * (1 - part) + second * part, dtype=np.float32)


def _fractal(random: np.random.Generator, height: int, width: int) -> Plane:
    """Periodic noise with the 1/f spectrum of natural pictures, in [0, 1]."""
    fy = np.fft.fftfreq(height)[:, None] * height
    fx = np.fft.rfftfreq(width)[None] * height
    radius = np.maximum(1.0, np.hypot(fy, fx)) if height > 1 else np.maximum(1.0, fx * 60)
    spectrum = random.normal(0, 1, (2, *radius.shape)) / radius**1.6
    noise = np.fft.irfft2(spectrum[0] + 1j * spectrum[1], s=(height, width))
    noise -= noise.min()
    return np.asarray(noise / max(float(noise.max()), 1e-9), dtype=np.float32)
