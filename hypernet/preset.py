"""What a preset is; `hypernet.presets` lists them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from hypernet.decoders.config import DecoderConfig
from hypernet.fitting import BATCH_FRAMES
from hypernet.weights import ClipShape

SEGMENT_FRAMES = 64
LONG_SEGMENT_FRAMES = 96
"""Where all clips depend on one: a key clip takes as much as ten that stand still."""
WHOLE_CLIP_FRAMES = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """How a video is encoded unless the user says otherwise.

    ``configure(clip, rate_factor)`` sizes the decoder for full segments; ``rate_factor`` is 1 at
    the middle quality. There, it aims at ``bits_per_pixel`` (infinite for networks that are not
    sized by it) and a bit per pixel is worth the mean squared error ``rate_weight`` (RGB in
    [0, 1]). A fit sees every frame of a segment ``epochs`` times and takes ``min_steps`` or more;
    a refinement of predicted weights sees every clip that often. A segment is one clip for a fit,
    or clips of ``clip_frames``, each coded against the one before it. ``motion_steps`` improve the
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
    clip_frames: int | None = None
    learning_rate: float = 0.02
    batch_frames: int = BATCH_FRAMES
    predictor: str | None = None
    motion_steps: int = 0
    target_psnr_db: float | None = None

    def steps(self, num_frames: int, batch_frames: int) -> int:
        """Gradient steps for a segment when neither steps nor a budget are given."""
        return max(self.min_steps, round(self.epochs * num_frames / batch_frames))
