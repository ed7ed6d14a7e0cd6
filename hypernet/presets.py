"""Named operating points. A preset is one choice; architecture knobs live here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from hypernet.decoders.base import Decoder
from hypernet.decoders.config import DecoderConfig
from hypernet.decoders.nerv import NervConfig, NervDecoder
from hypernet.decoders.sizing import BITS_PER_WEIGHT, SizeTarget, nerv_config, num_weights
from hypernet.decoders.tubelet import Tubelet
from hypernet.errors import InvalidSettings
from hypernet.predictor.files import find_predictor
from hypernet.predictor.motion import MOTION_STEPS
from hypernet.preset_names import unknown_preset
from hypernet.weights import ClipShape

SEGMENT_FRAMES = 64
WHOLE_CLIP_FRAMES = 4096
MIDDLE_QUALITY = 50
RATE_WEIGHT_EXPONENT = -1.5  # how the price of a bit falls as more bits are aimed at
QUALITY_PER_DOUBLING = 20  # so many points of quality double the bits that are aimed at
DEFAULT_MODEL = "tubelet-tiny"
LEARNING_STEPS = 300  # what a network takes to leave the mean colour, however few the frames


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """How a video is encoded unless the user says otherwise.

    ``configure(clip, rate_factor)`` sizes the decoder for full segments; ``rate_factor`` is 1 at
    the middle quality. There, it aims at ``bits_per_pixel`` (infinite for networks that are not
    sized by it) and a bit per pixel is worth the mean squared error ``rate_weight`` (RGB in
    [0, 1]). A fit sees every frame of a segment ``epochs`` times and takes ``min_steps`` or more;
    a refinement of predicted weights sees every clip that often. ``motion_steps`` improve the
    motion of each predicted clip. ``target_psnr_db`` is sought where a user names neither target
    nor quality.
    """

    name: str
    summary: str
    decoder: int
    configure: Callable[[ClipShape, float], DecoderConfig]
    rate_weight: float
    epochs: float
    bits_per_pixel: float = math.inf
    min_steps: int = 1
    segment_frames: int = SEGMENT_FRAMES
    learning_rate: float = 0.02
    predictor: str | None = None
    motion_steps: int = 0
    target_psnr_db: float | None = None

    def steps(self, num_frames: int, batch_frames: int) -> int:
        """Gradient steps for a segment when neither steps nor a budget are given."""
        return max(self.min_steps, round(self.epochs * num_frames / batch_frames))


def rate_factor(quality: int) -> float:
    """Bits aimed at, relative to the preset's own, for a quality of 1 to 100."""
    return float(2.0 ** ((quality - MIDDLE_QUALITY) / QUALITY_PER_DOUBLING))


def rate_weight(preset: Preset, quality: int, decoder: Decoder) -> float:
    """Mean squared error that a bit per pixel is worth at a quality of 1 to 100.

    ``decoder`` is that of the longest segment. In a clip of few pixels even the smallest network
    takes more bits than are aimed at; they are priced as if aimed at, because at the price of
    fewer the fit would rather send none of them and show one colour.
    """
    taken = BITS_PER_WEIGHT * num_weights(decoder) / decoder.clip.pixels
    factor = max(rate_factor(quality), taken / preset.bits_per_pixel)
    return float(preset.rate_weight * factor**RATE_WEIGHT_EXPONENT)


def find_preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        InvalidSettings: there is none; the message lists those that exist.
    """
    if name not in PRESETS:
        raise InvalidSettings(unknown_preset(name))
    return PRESETS[name]


def _fitted_nerv(name: str, kilo_multiply_adds: float, bits_per_pixel: float) -> Preset:
    def configure(clip: ClipShape, factor: float) -> NervConfig:
        target = SizeTarget(
            multiply_adds_per_pixel=1000 * kilo_multiply_adds,
            bits_per_pixel=bits_per_pixel * factor,
        )
        return nerv_config(clip, target)

    return Preset(
        name=name,
        summary=f"NeRV, at most {kilo_multiply_adds:g} kMAC/pixel, about {bits_per_pixel:g} bpp",
        decoder=NervDecoder.wire_id,
        configure=configure,
        rate_weight=0.00075 / bits_per_pixel,
        epochs=20,
        bits_per_pixel=bits_per_pixel,
        min_steps=LEARNING_STEPS,
    )


def _paper_nerv(name: str, stem_width: int) -> Preset:
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


def _predicted(
    name: str,
    summary: str,
    *,
    steps_per_clip: float = 0,
    motion_steps: int = MOTION_STEPS,
    target_psnr_db: float | None = None,
) -> Preset:
    return Preset(
        name=name,
        summary=summary,
        decoder=Tubelet.wire_id,
        configure=lambda _clip, _factor: find_predictor(DEFAULT_MODEL).decode_file().config,
        rate_weight=math.nan,
        epochs=steps_per_clip,
        min_steps=0,
        predictor=DEFAULT_MODEL,
        motion_steps=motion_steps,
        target_psnr_db=target_psnr_db,
    )


DEBUG = Preset(
    name="debug",
    summary="tiny and bad, encodes in moments: for tests",
    decoder=NervDecoder.wire_id,
    configure=lambda clip, factor: nerv_config(
        clip, SizeTarget(multiply_adds_per_pixel=200, bits_per_pixel=0.01 * factor)
    ),
    rate_weight=0.01,
    epochs=0.25,
)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        DEBUG,
        _predicted("fast", "predicted in one forward pass per clip"),
        _predicted(
            "balanced",
            "predicted, then refined to 32 dB unless told otherwise",
            steps_per_clip=2,
            motion_steps=40,
            target_psnr_db=32.0,
        ),
        _fitted_nerv("nerv-s", 2, 0.05),
        _fitted_nerv("nerv-m", 5, 0.1),
        _fitted_nerv("nerv-l", 10, 0.2),
        _paper_nerv("nerv-paper-s", 26),
        _paper_nerv("nerv-paper-m", 58),
        _paper_nerv("nerv-paper-l", 112),
    )
}
