"""Families of presets whose networks are fitted to the video by gradient steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypernet.decoders.config import DecoderConfig
from hypernet.decoders.nerv import NervConfig, NervDecoder
from hypernet.decoders.nerv_plus import NervPlusConfig, NervPlusDecoder
from hypernet.decoders.nirvana import NirvanaDecoder
from hypernet.decoders.sizing import (
    SizeTarget,
    nerv_config,
    nerv_plus_config,
    nirvana_config,
    srnerv_config,
)
from hypernet.decoders.srnerv import SrNervDecoder
from hypernet.fitting import BATCH_FRAMES
from hypernet.preset import WHOLE_CLIP_FRAMES, Preset
from hypernet.weights import ClipShape

LEARNING_STEPS = 300  # what a network takes to leave the mean colour, however few the frames


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedFamily:
    """Fitted presets that differ only in size; what suits them was found by search."""

    label: str
    decoder: int
    sized: Callable[[ClipShape, SizeTarget], DecoderConfig]
    price: float = 0.00075
    """Mean squared error that a bit per pixel is worth, times the bits per pixel aimed at."""
    epochs: float = 20
    min_steps: int = LEARNING_STEPS
    learning_rate: float = 0.02
    clip_frames: int | None = None
    batch_frames: int = BATCH_FRAMES

    def preset(self, name: str, kilo_multiply_adds: float, bits_per_pixel: float) -> Preset:
        """At most so many operations per pixel to decode, about so many bits per pixel."""

        def configure(clip: ClipShape, factor: float) -> DecoderConfig:
            target = SizeTarget(
                multiply_adds_per_pixel=1000 * kilo_multiply_adds,
                bits_per_pixel=bits_per_pixel * factor,
            )
            return self.sized(clip, target)

        cost = f"at most {kilo_multiply_adds:g} kMAC/pixel, about {bits_per_pixel:g} bpp"
        return Preset(
            name=name,
            summary=f"{self.label}, {cost}",
            decoder=self.decoder,
            configure=configure,
            rate_weight=self.price / bits_per_pixel,
            epochs=self.epochs,
            bits_per_pixel=bits_per_pixel,
            min_steps=self.min_steps,
            clip_frames=self.clip_frames,
            learning_rate=self.learning_rate,
            batch_frames=self.batch_frames,
        )


NERV = FittedFamily(label="NeRV", decoder=NervDecoder.wire_id, sized=nerv_config)
NERV_PLUS = FittedFamily(label="NeRV++", decoder=NervPlusDecoder.wire_id, sized=nerv_plus_config)
SRNERV = FittedFamily(label="SRNeRV", decoder=SrNervDecoder.wire_id, sized=srnerv_config)
NIRVANA = FittedFamily(
    label="NIRVANA, groups of 8 frames",
    decoder=NirvanaDecoder.wire_id,
    sized=nirvana_config,
    price=0.0012,
    learning_rate=0.03,
    clip_frames=8,
    batch_frames=1,
)


def paper_nerv(name: str, stem_width: int) -> Preset:
    """NeRV with the sizes of arXiv 2110.13903."""
    config = NervConfig(
        frequencies=40,
        hidden=512,
        widths=(stem_width, stem_width, 96, 96, 96, 96),
        strides=(5, 2, 2, 2, 2),
        head_kernel=1,
        head_stride=1,
    )
    return Preset(
        name=name,
        summary=f"NeRV as published for 1280x720 (stem width {stem_width}), meant for a GPU",
        decoder=NervDecoder.wire_id,
        configure=lambda _clip, _factor: config,
        rate_weight=0.001,
        epochs=300,
        segment_frames=WHOLE_CLIP_FRAMES,
    )


def paper_nerv_plus(name: str, stem_width: int) -> Preset:
    """NeRV++ with the sizes of its repository (arXiv 2402.18305), blocks as in the paper."""
    config = NervPlusConfig(
        frequencies=40,
        hidden=512,
        widths=(stem_width, stem_width, 80, 80, 80, 80),
        strides=(5, 2, 2, 2, 2),
        kernel=3,
        head_kernel=1,
        head_stride=1,
    )
    return Preset(
        name=name,
        summary=f"NeRV++ as published for 1280x720 (stem width {stem_width}), meant for a GPU",
        decoder=NervPlusDecoder.wire_id,
        configure=lambda _clip, _factor: config,
        rate_weight=0.001,
        epochs=300,
        segment_frames=WHOLE_CLIP_FRAMES,
    )
