"""The weights of a segment from the hypernetwork: one forward pass per clip, refined if asked."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from hypernet.bitstream.segment import ClipSymbols, SegmentSymbols
from hypernet.decoders.coding_order import Step, nearest_frame
from hypernet.decoders.spectrum import CLIP_FRAMES
from hypernet.device_memory import memory_of
from hypernet.errors import Cancelled
from hypernet.evaluation.metrics import FRAME_PSNR_LIMIT_DB
from hypernet.fitting import FitProgress
from hypernet.one_thread_each import clips_at_once, one_thread_each
from hypernet.predictor.files import PredictorFile
from hypernet.predictor.predicted import ClipPredictor, NearClip, PredictedClip
from hypernet.predictor.predictor import load_clip_predictor
from hypernet.quality_search import Trial, reach_psnr
from hypernet.refinement import ClipContext, refine_clip
from hypernet.rendering import Renderer
from hypernet.segment_decoder import SegmentDecoder

KEPT_PIXELS = 8 * 1024 * 576
"""Of one frame of each clip whose analyses are kept between trials, at 30 bytes each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionSettings:
    """How the weights of a segment are obtained.

    Attributes:
        quality: 1 to 100; where a target is sought, what is tried first.
        target_psnr_db: the quality is sought that just reaches it.
        steps: of refinement for the whole segment, at most. Where a target is sought, they begin
            once a quality is found that reaches it.
        motion_steps: gradient steps for the motion of each clip.
        seconds: wall time, at most; the forward passes are always made.
    """

    quality: int
    target_psnr_db: float | None = None
    steps: int = 0
    motion_steps: int
    seconds: float = math.inf


def predict_segment(
    frames_NCHW: Tensor,
    pts: tuple[int, ...],
    *,
    predictor_file: PredictorFile,
    decoders: SegmentDecoder,
    settings: PredictionSettings,
    on_progress: Callable[[FitProgress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> SegmentSymbols:
    """Predict every clip of a segment, each against the decoded frames of its reference.

    Args:
        frames_NCHW: uint8 RGB.
        pts: timestamp of every frame.
        predictor_file: the hypernetwork.
        decoders: of the stream that the segment goes into.
        settings: quality and limits.
        on_progress: called after every clip.
        should_stop: asked before every clip and every step.

    Raises:
        Cancelled: ``should_stop`` returned true.
    """
    work = _SegmentWork(
        parts=torch.split(frames_NCHW.to(decoders.device), CLIP_FRAMES),
        pts=pts,
        predictor=loaded_predictor(predictor_file, decoders.device),
        decoders=decoders,
        settings=settings,
        on_progress=on_progress or (lambda _progress: None),
        should_stop=should_stop or (lambda: False),
    )
    if settings.target_psnr_db is None:
        return work.encode(settings.quality, settings.steps).segment
    trial = reach_psnr(
        lambda quality: work.encode(quality, 0),
        settings.target_psnr_db,
        settings.quality,
        work.has_time_for_another,
    )
    if not settings.steps or not work.has_time_for_another(work.trials):
        return trial.segment
    refined = work.encode(trial.quality, settings.steps)
    reached = refined.psnr_db >= min(trial.psnr_db, settings.target_psnr_db)
    return (refined if reached else trial).segment


@dataclass(frozen=True, kw_only=True, slots=True)
class _Share:
    """Steps of one clip, and when they have to end."""

    steps: int
    deadline: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Coding:
    """The clips of a segment at one quality; those that are not coded yet have no symbols."""

    quality: int
    clips: list[ClipSymbols]
    renderer: Renderer
    shares: dict[int, _Share]


@dataclass(kw_only=True, slots=True, eq=False)
class _SegmentWork:
    """One segment, encoded at one quality after the other."""

    parts: tuple[Tensor, ...]
    pts: tuple[int, ...]
    predictor: ClipPredictor
    decoders: SegmentDecoder
    settings: PredictionSettings
    on_progress: Callable[[FitProgress], None]
    should_stop: Callable[[], bool]
    trials: int = 0
    kept: dict[int, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def has_time_for_another(self, trials: int) -> bool:
        """Whether time is left for a trial as long as those before."""
        spent = time.monotonic() - self.started
        return spent * (trials + 1) / trials < self.settings.seconds

    def encode(self, quality: int, steps: int) -> Trial:
        """All clips at one quality, with at most so many steps of refinement."""
        self.trials += 1
        at_once = clips_at_once(self.decoders.device, *self.parts[0].shape[-2:])
        clips = [ClipSymbols(num_frames=len(part), step_indices=()) for part in self.parts]
        renderer = Renderer(self.decoders, clips, keep=at_once)
        order = self.predictor.coding_order(len(clips))
        if at_once > 1:  # work begins with what is waited for
            order = tuple(sorted(order, key=attrgetter("depth")))
        shares = self._shares(order, steps)
        coding = _Coding(quality=quality, clips=clips, renderer=renderer, shares=shares)
        squared: list[Tensor] = []
        spent = 0
        encoded = self._encoded(coding, order, at_once)
        for number, (clip_steps, errors) in enumerate(encoded):
            spent += clip_steps
            squared += errors
            self._report(number + 1, spent, squared)
        segment = SegmentSymbols(pts=self.pts, clips=tuple(clips), refinement_steps=spent)
        return Trial(quality=quality, psnr_db=_psnr_db(squared), segment=segment)

    def _shares(self, order: Sequence[Step], steps: int) -> dict[int, _Share]:
        """Equal ones; what is left of a clip's time goes to those that follow."""
        now, clips = time.monotonic(), len(order)
        seconds = self.started + self.settings.seconds - now
        return {
            step.clip: _Share(
                steps=steps * (place + 1) // clips - steps * place // clips,
                deadline=now + seconds * (place + 1) / clips,
            )
            for place, step in enumerate(order)
        }

    def _encoded(
        self, coding: _Coding, order: Sequence[Step], number: int
    ) -> Iterator[tuple[int, list[Tensor]]]:
        """Steps and errors of each clip.

        Clips are analysed ahead, as most of the work needs no reference. Work begins in order, so
        no wait is endless and few analyses are held.
        """
        if number == 1:
            for step in order:
                self._check_stop()
                yield self._coded(coding, step, self._analysed(step))
            return
        analysed: dict[int, Future[Any]] = {}
        coded: dict[int, Future[tuple[int, list[Tensor]]]] = {}

        def code(step: Step) -> tuple[int, list[Tensor]]:
            if step.reference is not None:
                coded[step.reference].result()
            return self._coded(coding, step, analysed.pop(step.clip).result())

        ahead = iter(order)
        with one_thread_each(number) as pool:
            for turn in range(1 - number, len(order)):
                for step in islice(ahead, 1):
                    analysed[step.clip] = pool.submit(self._analysed, step)
                if turn >= 0:
                    coded[order[turn].clip] = pool.submit(code, order[turn])
            for step in order:
                self._check_stop()
                yield coded[step.clip].result()

    def _errors(self, coding: _Coding, clip: int) -> list[Tensor]:
        """Squared errors of a clip's frames, where somebody wants to know them."""
        if self.settings.target_psnr_db is None:
            return []
        return _squared_errors(coding.renderer.rendered(clip), self.parts[clip])

    def _analysed(self, step: Step) -> Any:
        """Kept for further trials, to which it is the same, unless it would take much memory."""
        if step.clip in self.kept:
            return self.kept[step.clip]
        with memory_of(self.decoders.device):
            analysed = self.predictor.analyse(
                self.parts[step.clip], self.settings.quality, self.settings.motion_steps
            )
        height, width = self.parts[0].shape[-2:]
        if self.settings.target_psnr_db and len(self.parts) * height * width <= KEPT_PIXELS:
            self.kept[step.clip] = analysed
        return analysed

    def _coded(self, coding: _Coding, step: Step, analysed: Any) -> tuple[int, list[Tensor]]:
        """Code a clip; the steps that it took, and its errors if somebody asks."""
        frames, near = self.parts[step.clip], None
        if step.reference is not None and self.decoders.decoder_of(1).departs_from_reference:
            _, offset = nearest_frame(step, len(self.parts[step.reference]))
            grid = coding.clips[step.reference].symbols["grid"]
            near = NearClip(picture=coding.renderer.nearest(step), offset=offset, grid=grid)
        with memory_of(self.decoders.device):
            predicted = self.predictor.predict_analysed(analysed, coding.quality, near, step.depth)
        context = ClipContext(frames_TCHW=frames, near=near)
        predicted, spent = self._refined(predicted, context, coding.shares[step.clip])
        names = [spec.name for spec in self.decoders.specs_of(len(frames))]
        coding.clips[step.clip] = ClipSymbols(
            num_frames=len(frames),
            reference=step.reference,
            step_indices=tuple(predicted.step_indices[name] for name in names),
            symbols=predicted.symbols,
        )
        return spent, self._errors(coding, step.clip)

    def _refined(
        self, predicted: PredictedClip, context: ClipContext, share: _Share
    ) -> tuple[PredictedClip, int]:
        if not share.steps:
            return predicted, 0
        with memory_of(self.decoders.device):
            refined = refine_clip(
                predicted,
                context,
                self.predictor.decode_file,
                share.steps,
                lambda: self.should_stop() or time.monotonic() > share.deadline,
            )
        self._check_stop()
        return refined

    def _check_stop(self) -> None:
        if self.should_stop():
            raise Cancelled("the encoding was cancelled")

    def _report(self, done: int, steps: int, squared: list[Tensor]) -> None:
        """Rate is not known before the segment is coded, nor is quality if it is not sought."""
        self.on_progress(
            FitProgress(
                step=steps,
                fraction=done / len(self.parts),
                psnr_db=_psnr_db(squared),
                bits_per_pixel=math.nan,
            )
        )


def _squared_errors(decoded_NCHW: Tensor, frames_NCHW: Tensor) -> list[Tensor]:
    """Mean squared error of each 8-bit frame."""
    # One by one: what eight frames take does not fit into a cache.
    return [
        (decoded.mul(255).round_() - frame).square_().mean()
        for decoded, frame in zip(decoded_NCHW, frames_NCHW, strict=True)
    ]


def _psnr_db(squared: list[Tensor]) -> float:
    if not squared:
        return math.nan
    decibels = 20 * math.log10(255) - 10 * torch.log10(torch.stack(squared))
    return float(decibels.clamp(max=FRAME_PSNR_LIMIT_DB).mean())


@functools.lru_cache(maxsize=2)
def loaded_predictor(predictor_file: PredictorFile, device: torch.device) -> ClipPredictor:
    """The hypernetwork of a file, kept for later calls.

    Raises:
        UnreadableInput: it is damaged.
        MissingDecodeFile: it lacks its decode file.
    """
    decode_file = predictor_file.decode_file()
    return load_clip_predictor(predictor_file.path, decode_file.path).to(device)
