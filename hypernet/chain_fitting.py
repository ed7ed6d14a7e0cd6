"""Fitting the clips of a segment one after the other, each started from the one before it.

NIRVANA (arXiv 2212.14593): groups of frames resemble their neighbours, so their networks do. Later
clips take fewer steps, keep the quantisation steps of the first, and pay only for what differs from
the integers of the clip before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hypernet.bitstream.segment import ClipSymbols, SegmentSymbols
from hypernet.decoders.base import Decoder
from hypernet.fitting import FitProgress, FitSettings, FittedWeights, fit

FIRST_SHARE = 3.0  # steps of the first clip, in those of a later one
LATER_LEARNING_RATE = 0.5  # of the first clip's: what is close needs no long way


@dataclass(frozen=True, kw_only=True, slots=True)
class _Share:
    """What of a segment's limits one clip may spend, and where that begins."""

    start: float
    length: float

    def limit(self, settings: FitSettings) -> FitSettings:
        return replace(
            settings,
            steps=max(1, round(settings.steps * self.length)),
            seconds=settings.seconds * self.length,
        )

    def report(self, on_progress: Callable[[FitProgress], None]) -> Callable[[FitProgress], None]:
        def of_segment(progress: FitProgress) -> None:
            on_progress(replace(progress, fraction=self.start + self.length * progress.fraction))

        return of_segment


def fit_chain(
    decoder_of: Callable[[int], Decoder],
    frames_TCHW: Tensor,
    settings: FitSettings,
    clip_frames: int,
    *,
    device: torch.device | None = None,
    on_progress: Callable[[FitProgress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> tuple[FittedWeights, ...]:
    """Fit every ``clip_frames`` frames of a segment (the last clip may be shorter).

    A segment of one clip is an ordinary fit. Clip ``k`` is final before ``k + 1`` begins, which is
    meant to be coded against it.

    Args:
        decoder_of: the decoder of a clip with so many frames.
        frames_TCHW: RGB, uint8.
        settings: of the whole segment; steps and seconds are shared out.
        clip_frames: frames of a clip.
        device: where to compute.
        on_progress: called after every step; fractions are of the segment.
        should_stop: asked before every step.

    Raises:
        Cancelled, EncodeFailed: as ``fit``.
    """
    fitted: list[FittedWeights] = []
    clips = torch.split(frames_TCHW, clip_frames)
    for clip_TCHW, share in zip(clips, _shares(len(clips)), strict=True):
        previous = fitted[-1] if fitted else None
        limited = share.limit(settings)
        if previous is not None:
            rate = settings.learning_rate * LATER_LEARNING_RATE
            limited = replace(limited, learning_rate=rate)
        fitted.append(
            fit(
                decoder_of(len(clip_TCHW)),
                clip_TCHW,
                limited,
                initial=previous,
                reference=None if previous is None else previous.symbols,
                device=device,
                on_progress=None if on_progress is None else share.report(on_progress),
                should_stop=should_stop,
            )
        )
    return tuple(fitted)


def segment_symbols(
    fitted: Sequence[FittedWeights], pts: Sequence[int], clip_frames: int
) -> SegmentSymbols:
    """The segment that the results of ``fit_chain`` make, each clip coded against the last."""
    return SegmentSymbols(
        pts=tuple(pts),
        refinement_steps=sum(clip.steps for clip in fitted),
        clips=tuple(
            ClipSymbols(
                num_frames=min(clip_frames, len(pts) - number * clip_frames),
                reference=number - 1 if number else None,
                step_indices=clip.step_indices,
                symbols=clip.symbols,
            )
            for number, clip in enumerate(fitted)
        ),
    )


def _shares(clips: int) -> list[_Share]:
    total = FIRST_SHARE + clips - 1
    lengths = [FIRST_SHARE / total, *(1 / total for _ in range(clips - 1))]
    starts = [math.fsum(lengths[:i]) for i in range(clips)]
    return [_Share(start=a, length=b) for a, b in zip(starts, lengths, strict=True)]
