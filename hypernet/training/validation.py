"""Scores of a predictor on whole frames: decoded PSNR and the bytes that it really takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypernet.decoders.coding_order import Step, nearest_frame
from hypernet.decoders.decode_file import DecodeFile
from hypernet.decoders.spectrum import CLIP_FRAMES
from hypernet.predictor.predicted import ClipPredictor, NearClip, PredictedClip
from hypernet.video.colour import rgb_of
from hypernet.weights import ClipShape

SEGMENT_CLIPS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipScore:
    """One validation video.

    Attributes:
        name: of the file.
        psnr_db: mean over frames, 8-bit RGB.
        bits_per_pixel: entropy-coded weights only, no container.
        error_THW: decoded less original, mean of the three colours in 8-bit steps.
    """

    name: str
    psnr_db: float
    bits_per_pixel: float
    error_THW: Tensor


def score_video(
    predictor: ClipPredictor,
    path: Path,
    *,
    quality: int,
    max_frames: int = 64,
    order: Callable[[int], Sequence[Step]] | None = None,
    mean_weights: Mapping[str, Tensor] | None = None,
) -> ClipScore:
    """Encode and decode the first frames of a video.

    Args:
        predictor: what is scored.
        path: a video.
        quality: 1 to 100.
        max_frames: leading frames used.
        order: in which order the clips of a segment are coded, and against which; by default as
            the predictor does.
        mean_weights: ``(C,)`` by name, replaces the predicted weights of that name when decoding
            (the ablation).
    """
    frames = read_rgb(path, max_frames)
    original = torch.from_numpy(frames).permute(0, 3, 1, 2)
    num_bytes, decoded = 0, list[Tensor]()
    for segment in torch.split(original, SEGMENT_CLIPS * CLIP_FRAMES):
        steps = (order or predictor.coding_order)(-(-len(segment) // CLIP_FRAMES))
        coded, shown = _segment(predictor, segment, quality, steps, mean_weights or {})
        num_bytes += coded
        decoded.append(shown)
    error = torch.cat(decoded) - original.float()
    return ClipScore(
        name=path.stem,
        psnr_db=_psnr_db(error),
        bits_per_pixel=8 * num_bytes / math.prod(frames.shape[:3]),
        error_THW=error.mean(1),
    )


def _segment(
    predictor: ClipPredictor,
    frames_NCHW: Tensor,
    quality: int,
    steps: Sequence[Step],
    mean_weights: Mapping[str, Tensor],
) -> tuple[int, Tensor]:
    """Bytes of a segment, and its frames as 8-bit values."""
    decode_file = predictor.decode_file
    clips = torch.split(frames_NCHW, CLIP_FRAMES)
    sent: dict[int, PredictedClip] = {}
    decoded: dict[int, Tensor] = {}
    num_bytes = 0
    departs = decode_file.decoder(_shape(clips[0])).departs_from_reference
    for step in steps:
        clip = clips[step.clip]
        near = None
        if step.reference is not None and departs:
            frame, offset = nearest_frame(step, len(decoded[step.reference]))
            symbols = sent[step.reference].symbols
            picture = decoded[step.reference][frame]
            near = NearClip(picture=picture, offset=offset, grid=symbols["grid"])
        predicted = predictor.predict(clip, quality, near, step.depth)
        before = None if step.reference is None else sent[step.reference].symbols
        specs = decode_file.decoder(_shape(clip)).weight_specs()
        indices = [predicted.step_indices[spec.name] for spec in specs]
        num_bytes += len(decode_file.coding.encode(predicted.symbols, specs, indices, before))
        weights = predicted.weights()
        for name, mean in mean_weights.items():
            weights[name] = mean[:, None, None].expand_as(weights[name])
        sent[step.clip] = predicted
        decoded[step.clip] = decode(decode_file, weights, clip, near)
    frames = torch.cat([decoded[number] for number in range(len(clips))])
    return num_bytes, (frames * 255).round()


def decode(
    decode_file: DecodeFile, weights: Mapping[str, Tensor], clip: Tensor, near: NearClip | None
) -> Tensor:
    """Frames of a clip's weights, float in [0, 1], shaped like ``clip``."""
    decoder = decode_file.decoder(_shape(clip))
    departing = {} if near is None else {"reference": near.picture}
    with torch.inference_mode():
        times = torch.arange(len(clip), dtype=torch.float32)
        return decoder.render({**weights, **departing}, times)


def _shape(clip: Tensor) -> ClipShape:
    return ClipShape(frames=clip.shape[0], height=clip.shape[2], width=clip.shape[3])


def read_rgb(path: Path, max_frames: int) -> NDArray[np.uint8]:
    """Leading frames of a video, ``(T, H, W, 3)``."""
    frames: list[NDArray[np.uint8]] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            frames.append(rgb_of(frame))
            if len(frames) == max_frames:
                break
    return np.stack(frames)


def _psnr_db(error_NCHW: Tensor) -> float:
    squared = error_NCHW.square().mean((1, 2, 3)).clamp(min=1e-3)
    return float((10 * torch.log10(255**2 / squared)).mean())
