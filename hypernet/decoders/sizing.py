"""Sizes of fitted decoders from what may be spent: operations per pixel and bits per pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from hypernet.decoders.base import Decoder
from hypernet.decoders.nerv import NervConfig, NervDecoder
from hypernet.weights import ClipShape

BITS_PER_WEIGHT = 3.2  # what rate-aware fitting sends on average at the default quality
STEM_ROWS = 10  # the stem's grid is at most about this high
HEAD_STRIDE = 4  # shuffling the last 4x at once halves the time per step and costs no quality
WIDTH_PROFILE = (8 / 3, 2.0, 2.0, 4 / 3, 1.0)  # of the last width; from the last stage backwards
MIN_WIDTH, MAX_WIDTH = 2, 160
MIN_HIDDEN, MAX_HIDDEN = 4, 128
FREQUENCIES = 12  # of the time encoding: resolves a few frames of 64, and shares between neighbours


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeTarget:
    """At most ``multiply_adds_per_pixel`` to decode, about ``bits_per_pixel`` for a whole clip."""

    multiply_adds_per_pixel: float
    bits_per_pixel: float


def nerv_config(clip: ClipShape, target: SizeTarget) -> NervConfig:
    """The largest NeRV within both targets for clips of this shape.

    Widths grow together until decoding or the weights become too expensive; what is left of the
    weights goes to the stem, which costs next to nothing to decode.
    """
    budget = target.bits_per_pixel * clip.pixels / BITS_PER_WEIGHT
    best = _nerv(clip, MIN_WIDTH)
    for width in range(MIN_WIDTH, MAX_WIDTH + 1):
        candidate = _nerv(clip, width)
        decoder = NervDecoder(candidate, clip)
        too_slow = decoder.multiply_adds_per_pixel() > target.multiply_adds_per_pixel
        if too_slow or num_weights(decoder) > budget:
            break
        best = candidate
    now, wider = (NervDecoder(replace(best, hidden=best.hidden + extra), clip) for extra in (0, 1))
    operations = wider.multiply_adds_per_pixel() - now.multiply_adds_per_pixel()
    extra = min(
        (budget - num_weights(now)) / (num_weights(wider) - num_weights(now)),
        (target.multiply_adds_per_pixel - now.multiply_adds_per_pixel()) / operations,
    )
    hidden = best.hidden + math.floor(extra)
    return replace(best, hidden=min(max(hidden, MIN_HIDDEN), MAX_HIDDEN))


def num_weights(decoder: Decoder) -> int:
    """Values to be sent for one clip."""
    return sum(spec.size for spec in decoder.weight_specs())


def _nerv(clip: ClipShape, last_width: int) -> NervConfig:
    stages = max(0, math.ceil(math.log2(clip.height / (HEAD_STRIDE * STEM_ROWS))))
    stages = min(stages, len(WIDTH_PROFILE) + 2)
    profile = [WIDTH_PROFILE[0]] * (stages + 1 - len(WIDTH_PROFILE)) + list(
        WIDTH_PROFILE[-(stages + 1) :]
    )
    return NervConfig(
        frequencies=FREQUENCIES,
        hidden=MIN_HIDDEN * 3,
        widths=tuple(max(1, round(share * last_width)) for share in profile),
        strides=(2,) * stages,
        head_kernel=3,
        head_stride=HEAD_STRIDE,
    )
