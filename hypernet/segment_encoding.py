"""One segment from frames to verified bytes: fit, code, decode again with a fresh decoder."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from hypernet.bitstream.segment import SegmentSymbols
from hypernet.bitstream.segment import encode_segment as code_segment
from hypernet.chain_fitting import fit_chain, segment_symbols
from hypernet.decoders.spectrum import CLIP_FRAMES
from hypernet.errors import EncodeFailed, UnreadableVideo
from hypernet.evaluation.metrics import FRAME_PSNR_LIMIT_DB, PsnrAccumulator
from hypernet.fitting import FitProgress, FitSettings
from hypernet.one_thread_each import clips_at_once, one_thread_each
from hypernet.plan import EncodeSettings, Plan
from hypernet.predictor.files import find_predictor
from hypernet.presets import find_preset, rate_weight
from hypernet.result import EncodedSegment
from hypernet.segment_decoder import SegmentDecoder
from hypernet.sequential_decoding import segment_frames
from hypernet.video.reader import Frame
from hypernet.video.segments import SegmentRange

VERIFY_SHARE = 0.1  # of a budget, kept for coding and the verifying decode
UNBOUNDED_STEPS = 1_000_000  # where only a budget of seconds was given


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentLimits:
    """What one segment may spend."""

    settings: EncodeSettings
    seconds: float
    on_progress: Callable[[FitProgress], None] | None
    should_stop: Callable[[], bool] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentFrames:
    """What one segment shows: ``frames_THWC`` 8-bit RGB, one timestamp each."""

    pts: tuple[int, ...]
    frames_THWC: NDArray[np.uint8]


def collect_frames(frames: Iterator[Frame], segment: SegmentRange) -> SegmentFrames:
    """The next frames, which must be those of a segment; each is copied once and held once.

    Raises:
        UnreadableVideo: they are not those that the plan was made of.
    """
    pts: list[int] = []
    frames_THWC = np.empty(0, np.uint8)
    for number, frame in enumerate(islice(frames, segment.num_frames)):
        if number == 0:
            frames_THWC = np.empty((segment.num_frames, *frame.rgb_HWC.shape), np.uint8)
        frames_THWC[number] = frame.rgb_HWC
        pts.append(frame.pts)
    if len(pts) != segment.num_frames or pts[0] != segment.first_pts:
        raise UnreadableVideo(
            f"the source changed while it was encoded: frame {segment.first_frame} differs"
        )
    return SegmentFrames(pts=tuple(pts), frames_THWC=frames_THWC)


def encode_frames(frames: SegmentFrames, plan: Plan, limits: SegmentLimits) -> EncodedSegment:
    """Encode the frames of one segment of a plan.

    Raises:
        Cancelled: the caller asked to stop.
        EncodeFailed: the fit diverged, or the bytes did not decode to what was encoded.
    """
    started = time.monotonic()
    payload, steps = _coded(frames, plan, limits)
    return _verified(payload, frames, plan, steps, started)


def _coded(frames: SegmentFrames, plan: Plan, limits: SegmentLimits) -> tuple[bytes, int]:
    """The bytes of a segment, and its refinement steps."""
    if find_preset(limits.settings.preset).predictor is None:
        segment = _fitted(frames, plan, limits)
    else:
        segment = _predicted(frames, plan, limits)
    return _payload(segment, SegmentDecoder(plan.header())), segment.refinement_steps


def _payload(segment: SegmentSymbols, coder: SegmentDecoder) -> bytes:
    at_once = clips_at_once(torch.device("cpu"), coder.header.height, coder.header.width)
    if min(at_once, len(segment.clips)) == 1:
        return code_segment(segment, coder.specs_of, coder.coding)
    with one_thread_each(at_once) as pool:
        return code_segment(segment, coder.specs_of, coder.coding, each=pool.map)


@contextmanager
def prepared(settings: EncodeSettings) -> Iterator[None]:
    """Within the block, a thread imports and loads what will predict the segments.

    What goes wrong with it is for who needs it to find.
    """
    predictor = find_preset(settings.preset).predictor
    if predictor is None:
        yield
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_prepare, predictor, settings.torch_device())
        yield


def _prepare(predictor: str, device: torch.device) -> None:
    # Encoding by fitting must not need the predictor's libraries.
    from hypernet.prediction import loaded_predictor  # noqa: PLC0415

    loaded_predictor(find_predictor(predictor), device)


def _predicted(frames: SegmentFrames, plan: Plan, limits: SegmentLimits) -> SegmentSymbols:
    # Encoding by fitting must not need the predictor's libraries.
    from hypernet.prediction import PredictionSettings, predict_segment  # noqa: PLC0415

    settings = limits.settings
    preset = find_preset(settings.preset)
    steps = preset.steps(len(frames.pts), CLIP_FRAMES)
    return predict_segment(
        torch.from_numpy(frames.frames_THWC).permute(0, 3, 1, 2),
        frames.pts,
        predictor_file=find_predictor(preset.predictor or ""),
        decoders=SegmentDecoder(plan.header(), device=settings.torch_device()),
        settings=PredictionSettings(
            quality=settings.chosen_quality,
            target_psnr_db=settings.goal_psnr_db,
            steps=(settings.steps or steps) if steps else 0,
            motion_steps=preset.motion_steps,
            seconds=limits.seconds * (1 - VERIFY_SHARE),
        ),
        on_progress=limits.on_progress,
        should_stop=limits.should_stop,
    )


def _fitted(frames: SegmentFrames, plan: Plan, limits: SegmentLimits) -> SegmentSymbols:
    num_frames = len(frames.pts)
    clip_frames = find_preset(limits.settings.preset).clip_frames or num_frames
    fitted = fit_chain(
        SegmentDecoder(plan.header()).decoder_of,
        torch.from_numpy(frames.frames_THWC).permute(0, 3, 1, 2),
        _fit_settings(plan, limits, num_frames),
        clip_frames,
        device=limits.settings.torch_device(),
        on_progress=limits.on_progress,
        should_stop=limits.should_stop,
    )
    return segment_symbols(fitted, frames.pts, clip_frames)


def _fit_settings(plan: Plan, limits: SegmentLimits, num_frames: int) -> FitSettings:
    settings = limits.settings
    preset = find_preset(settings.preset)
    steps = settings.steps
    if steps is None:
        only_budget = math.isfinite(limits.seconds)
        default = preset.steps(num_frames, preset.batch_frames)
        steps = UNBOUNDED_STEPS if only_budget else default
    decoder = plan.longest_decoder(preset.clip_frames)
    return FitSettings(
        rate_weight=rate_weight(preset, settings.chosen_quality, decoder),
        steps=steps,
        seconds=limits.seconds * (1 - VERIFY_SHARE),
        target_psnr_db=settings.goal_psnr_db,
        learning_rate=preset.learning_rate,
        batch_frames=preset.batch_frames,
        seed=settings.seed,
    )


def _verified(
    payload: bytes, frames: SegmentFrames, plan: Plan, steps: int, started: float
) -> EncodedSegment:
    """Decode the bytes with a fresh decoder and measure what comes out."""
    quality, decode_seconds = PsnrAccumulator(), 0.0
    decoded = segment_frames(SegmentDecoder(plan.header()), payload)
    for pts, rgb_HWC in zip(frames.pts, frames.frames_THWC, strict=True):
        before = time.monotonic()
        other = next(decoded, None)
        decode_seconds += time.monotonic() - before
        if other is None or other.pts != pts:
            raise EncodeFailed("the coded segment does not decode to the frames it was made from")
        quality.add(rgb_HWC, other.rgb_HWC)
    return EncodedSegment(
        payload=payload,
        num_frames=len(frames.pts),
        psnr_db=min(quality.psnr_db, FRAME_PSNR_LIMIT_DB),
        psnr_y_db=min(quality.psnr_y_db, FRAME_PSNR_LIMIT_DB),
        refinement_steps=steps,
        encode_seconds=time.monotonic() - started,
        decode_seconds=decode_seconds,
    )
