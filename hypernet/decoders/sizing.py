"""Sizes of fitted decoders from what may be spent: operations per pixel and bits per pixel."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from hypernet.decoders.base import Decoder
from hypernet.decoders.nerv import NervConfig, NervDecoder
from hypernet.decoders.nerv_plus import NervPlusConfig, NervPlusDecoder
from hypernet.decoders.nirvana import NirvanaConfig, NirvanaDecoder
from hypernet.decoders.srnerv import SrNervConfig, SrNervDecoder
from hypernet.weights import ClipShape

BITS_PER_WEIGHT = 3.2  # what rate-aware fitting sends on average at the default quality
SPARSE_BITS_PER_WEIGHT = 2.8  # the same for networks with more, thinner layers
STEM_ROWS = 10  # the stem's grid is at most about this high
HEAD_STRIDE = 4  # shuffling the last 4x at once halves the time per step and costs no quality
NERV_PROFILE = (8 / 3, 2.0, 2.0, 4 / 3, 1.0)  # of the last width; from the last stage backwards
NERV_PLUS_HEAD_STRIDE = 2  # its stages are thin enough for half resolution
MIXER_EXPANSION = 2  # of SRNeRV's channel mixer
SPATIAL_KERNEL = 5  # of depthwise convolutions
MIN_WIDTH, MAX_WIDTH = 2, 160
MAX_TRUNK = 512  # NIRVANA's widest trunk
MIN_HIDDEN, MAX_HIDDEN = 4, 128
FREQUENCIES = 12  # of the time encoding: resolves a few frames of 64, and shares between neighbours

StemmedConfig = TypeVar("StemmedConfig", NervConfig, NervPlusConfig, SrNervConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeTarget:
    """At most ``multiply_adds_per_pixel`` to decode, about ``bits_per_pixel`` for a whole clip."""

    multiply_adds_per_pixel: float
    bits_per_pixel: float

    def weights(self, clip: ClipShape, bits_per_weight: float) -> float:
        """How many weights may be sent for a clip."""
        return self.bits_per_pixel * clip.pixels / bits_per_weight

    def allows(self, decoder: Decoder, bits_per_weight: float) -> bool:
        """Whether a decoder is within both targets."""
        slow = decoder.multiply_adds_per_pixel() > self.multiply_adds_per_pixel
        return not slow and num_weights(decoder) <= self.weights(decoder.clip, bits_per_weight)


def nerv_config(clip: ClipShape, target: SizeTarget) -> NervConfig:
    """The largest NeRV within both targets for clips of this shape.

    Widths grow together until decoding or the weights become too expensive; what is left of the
    weights goes to the stem, which costs next to nothing to decode.
    """
    return _largest(clip, NervDecoder, _nerv, target, BITS_PER_WEIGHT)


def nerv_plus_config(clip: ClipShape, target: SizeTarget) -> NervPlusConfig:
    """The largest NeRV++ within both targets, as ``nerv_config``."""
    return _largest(clip, NervPlusDecoder, _nerv_plus, target, SPARSE_BITS_PER_WEIGHT)


def srnerv_config(clip: ClipShape, target: SizeTarget) -> SrNervConfig:
    """The largest SRNeRV within both targets, as ``nerv_config``."""
    return _largest(clip, SrNervDecoder, _srnerv, target, SPARSE_BITS_PER_WEIGHT)


def nirvana_config(clip: ClipShape, target: SizeTarget) -> NirvanaConfig:
    """The widest NIRVANA within both targets for groups of this shape."""
    best = _nirvana(clip, MIN_WIDTH)
    for hidden in range(MIN_WIDTH, MAX_TRUNK + 1, 2):
        candidate = _nirvana(clip, hidden)
        if not target.allows(NirvanaDecoder(candidate, clip), BITS_PER_WEIGHT):
            break
        best = candidate
    return best


def num_weights(decoder: Decoder) -> int:
    """Values to be sent for one clip."""
    return sum(spec.size for spec in decoder.weight_specs())


def _largest(
    clip: ClipShape,
    decoder_type: Callable[[StemmedConfig, ClipShape], Decoder],
    at_width: Callable[[ClipShape, int], StemmedConfig],
    target: SizeTarget,
    bits_per_weight: float,
) -> StemmedConfig:
    best = at_width(clip, MIN_WIDTH)
    for width in range(MIN_WIDTH, MAX_WIDTH + 1):
        candidate = at_width(clip, width)
        if not target.allows(decoder_type(candidate, clip), bits_per_weight):
            break
        best = candidate
    now, wider = (decoder_type(replace(best, hidden=best.hidden + n), clip) for n in (0, 1))
    operations = wider.multiply_adds_per_pixel() - now.multiply_adds_per_pixel()
    extra = min(
        (target.weights(clip, bits_per_weight) - num_weights(now))
        / (num_weights(wider) - num_weights(now)),
        (target.multiply_adds_per_pixel - now.multiply_adds_per_pixel()) / operations,
    )
    hidden = best.hidden + math.floor(extra)
    return replace(best, hidden=min(max(hidden, MIN_HIDDEN), MAX_HIDDEN))


def _stages(clip: ClipShape, head_stride: int = HEAD_STRIDE) -> int:
    return max(0, math.ceil(math.log2(clip.height / (head_stride * STEM_ROWS))))


def _widths(profile: tuple[float, ...], stages: int, last_width: int) -> tuple[int, ...]:
    shares = [profile[0]] * (stages + 1 - len(profile)) + list(profile[-(stages + 1) :])
    return tuple(max(1, round(share * last_width)) for share in shares)


def _nerv(clip: ClipShape, last_width: int) -> NervConfig:
    stages = min(_stages(clip), len(NERV_PROFILE) + 2)
    return NervConfig(
        frequencies=FREQUENCIES,
        hidden=MIN_HIDDEN * 3,
        widths=_widths(NERV_PROFILE, stages, last_width),
        strides=(2,) * stages,
        head_kernel=3,
        head_stride=HEAD_STRIDE,
    )


def _nerv_plus(clip: ClipShape, width: int) -> NervPlusConfig:
    stages = min(_stages(clip, NERV_PLUS_HEAD_STRIDE), 8)
    return NervPlusConfig(
        frequencies=FREQUENCIES,
        hidden=MIN_HIDDEN * 6,
        widths=(width,) * (stages + 1),
        strides=(2,) * stages,
        kernel=SPATIAL_KERNEL,
        head_kernel=3,
        head_stride=NERV_PLUS_HEAD_STRIDE,
    )


def _srnerv(clip: ClipShape, width: int) -> SrNervConfig:
    return SrNervConfig(
        frequencies=FREQUENCIES,
        hidden=MIN_HIDDEN * 5,
        width=width,
        mixer_width=MIXER_EXPANSION * width,
        kernel=SPATIAL_KERNEL,
        scales=min(_stages(clip), 7),
        head_stride=HEAD_STRIDE,
    )


def _nirvana(clip: ClipShape, hidden: int) -> NirvanaConfig:
    return NirvanaConfig(
        group_frames=clip.frames,
        patch=4,
        stride=2,
        hidden=hidden,
        layers=2,
        channels=8,
        width=8,
    )
