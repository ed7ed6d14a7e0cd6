"""The weights of a segment in one forward pass of the hypernetwork per clip."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from hypernet.bitstream.segment import ClipSymbols, SegmentSymbols
from hypernet.decoders.coding_order import coding_order, nearest_frame
from hypernet.decoders.spectrum import CLIP_FRAMES
from hypernet.decoding import Renderer, SegmentDecoder
from hypernet.errors import Cancelled
from hypernet.fitting import FitProgress
from hypernet.predictor.files import PredictorFile
from hypernet.predictor.predictor import Predictor, load_predictor


def predict_segment(
    frames_NCHW: Tensor,
    pts: tuple[int, ...],
    *,
    predictor_file: PredictorFile,
    decoders: SegmentDecoder,
    quality: int,
    on_progress: Callable[[FitProgress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> SegmentSymbols:
    """Predict every clip of a segment, each against the decoded frames of its reference.

    Args:
        frames_NCHW: uint8 RGB.
        pts: timestamp of every frame.
        predictor_file: the hypernetwork.
        decoders: of the stream that the segment goes into.
        quality: 1 to 100.
        on_progress: called after every clip.
        should_stop: asked before every clip.

    Raises:
        Cancelled: ``should_stop`` returned true.
    """
    predictor = _loaded(predictor_file, decoders.device)
    parts = torch.split(frames_NCHW, CLIP_FRAMES)
    clips = [ClipSymbols(num_frames=len(part)) for part in parts]
    step_indices: tuple[int, ...] = ()
    specs = decoders.specs_of(1)
    for number, step in enumerate(coding_order(len(parts))):
        if should_stop is not None and should_stop():
            raise Cancelled("the encoding was cancelled")
        near = None
        if step.reference is not None:
            _, offset = nearest_frame(step, len(parts[step.reference]))
            near = (Renderer(decoders, clips, step_indices).nearest(step), offset)
        predicted = predictor.predict(parts[step.clip], quality, near)
        step_indices = tuple(predicted.step_indices[spec.name] for spec in specs)
        clips[step.clip] = replace(
            clips[step.clip], reference=step.reference, symbols=predicted.symbols
        )
        if on_progress is not None:
            on_progress(_progress(number + 1, len(parts)))
    return SegmentSymbols(pts=pts, step_indices=step_indices, clips=tuple(clips))


def _progress(done: int, total: int) -> FitProgress:
    """Quality and rate are not known before the segment is coded and verified."""
    return FitProgress(step=done, fraction=done / total, psnr_db=math.nan, bits_per_pixel=math.nan)


@functools.lru_cache(maxsize=2)
def _loaded(predictor_file: PredictorFile, device: torch.device) -> Predictor:
    decode_file = predictor_file.decode_file()
    return load_predictor(predictor_file.path, decode_file.path).to(device)
