"""Named operating points. A preset is one choice; architecture knobs live here and nowhere else."""

from __future__ import annotations

import math

from hypernet.decoders.base import Decoder
from hypernet.decoders.hyponet import Hyponet
from hypernet.decoders.nerv import NervDecoder
from hypernet.decoders.sizing import BITS_PER_WEIGHT, SizeTarget, nerv_config, num_weights
from hypernet.decoders.tubelet import Tubelet
from hypernet.errors import InvalidSettings
from hypernet.fitted_presets import NERV, NERV_PLUS, NIRVANA, SRNERV, paper_nerv, paper_nerv_plus
from hypernet.predictor.files import find_predictor
from hypernet.predictor.motion import MOTION_STEPS
from hypernet.preset import LONG_SEGMENT_FRAMES, SEGMENT_FRAMES, Preset
from hypernet.preset_names import unknown_preset

MIDDLE_QUALITY = 50
RATE_WEIGHT_EXPONENT = -1.5  # how the price of a bit falls as more bits are aimed at
QUALITY_PER_DOUBLING = 20  # so many points of quality double the bits that are aimed at
DEFAULT_MODEL = "tubelet-tiny"


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


def _predicted(
    name: str,
    summary: str,
    *,
    model: str = DEFAULT_MODEL,
    decoder: int = Tubelet.wire_id,
    segment_frames: int = SEGMENT_FRAMES,
    steps_per_clip: float = 0,
    motion_steps: int = MOTION_STEPS,
    target_psnr_db: float | None = None,
) -> Preset:
    return Preset(
        name=name,
        summary=summary,
        decoder=decoder,
        configure=lambda _clip, _factor: find_predictor(model).decode_file().config,
        rate_weight=math.nan,
        epochs=steps_per_clip,
        min_steps=0,
        segment_frames=segment_frames,
        predictor=model,
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
        _predicted(
            "fast", "predicted in one forward pass per clip", segment_frames=LONG_SEGMENT_FRAMES
        ),
        _predicted(
            "balanced",
            "predicted, then refined to 32 dB unless told otherwise",
            segment_frames=LONG_SEGMENT_FRAMES,
            steps_per_clip=1,
            motion_steps=24,
            target_psnr_db=32.0,
        ),
        NERV.preset("nerv-s", 2, 0.05),
        NERV.preset("nerv-m", 5, 0.1),
        NERV.preset("nerv-l", 10, 0.2),
        paper_nerv("nerv-paper-s", 26),
        paper_nerv("nerv-paper-m", 58),
        paper_nerv("nerv-paper-l", 112),
        NERV_PLUS.preset("nerv-plus-s", 2, 0.05),
        NERV_PLUS.preset("nerv-plus-m", 5, 0.1),
        NERV_PLUS.preset("nerv-plus-l", 10, 0.2),
        paper_nerv_plus("nerv-plus-paper-s", 26),
        paper_nerv_plus("nerv-plus-paper-m", 58),
        paper_nerv_plus("nerv-plus-paper-l", 112),
        SRNERV.preset("srnerv-s", 2, 0.05),
        SRNERV.preset("srnerv-m", 5, 0.1),
        SRNERV.preset("srnerv-l", 10, 0.2),
        NIRVANA.preset("nirvana", 5, 0.2),
        _predicted(
            "nerv-enc",
            "NeRV-Enc: factors of one network per 8 whole frames, predicted",
            model="nerv-enc-tiny",
            decoder=Hyponet.wire_id,
        ),
        _predicted(
            "teconerv",
            "TeCoNeRV: factors of a network per tile and 8 frames, predicted, coded as differences",
            model="teconerv-tiny",
            decoder=Hyponet.wire_id,
        ),
    )
}
