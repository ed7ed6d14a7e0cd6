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

from hypernet.decoders.coding_order import Step, coding_order, nearest_frame
from hypernet.decoders.decode_file import DecodeFile
from hypernet.decoders.learned_coding import encode_clip
from hypernet.decoders.spectrum import CLIP_FRAMES
from hypernet.decoders.tubelet import Tubelet
from hypernet.predictor.predictor import PredictedClip, Predictor
from hypernet.weights import ClipShape

SEGMENT_CLIPS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipScore:
    """One validation video.

    Attributes:
        name: of the file.
        psnr_db: mean over frames, 8-bit RGB.
        bits_per_pixel: entropy-coded weights only, no container.
    """

    name: str
    psnr_db: float
    bits_per_pixel: float


def score_video(
    predictor: Predictor,
    path: Path,
    *,
    quality: int,
    max_frames: int = 64,
    order: Callable[[int], Sequence[Step]] = coding_order,
    mean_weights: Mapping[str, Tensor] | None = None,
) -> ClipScore:
    """Encode and decode the first frames of a video.

    Args:
        predictor: what is scored.
        path: a video.
        quality: 1 to 100.
        max_frames: leading frames used.
        order: in which order the clips of a segment are coded, and against which.
        mean_weights: ``(C,)`` by name, replaces the predicted weights of that name when decoding
            (the ablation).
    """
    frames = read_rgb(path, max_frames)
    psnr: list[float] = []
    num_bytes = 0
    span = SEGMENT_CLIPS * CLIP_FRAMES
    for start in range(0, len(frames), span):
        segment = torch.from_numpy(frames[start : start + span]).permute(0, 3, 1, 2)
        coded, scores = _segment(predictor, segment, quality, order, mean_weights or {})
        num_bytes += coded
        psnr += scores
    return ClipScore(
        name=path.stem,
        psnr_db=float(np.mean(psnr)),
        bits_per_pixel=8 * num_bytes / math.prod(frames.shape[:3]),
    )


def _segment(
    predictor: Predictor,
    frames_NCHW: Tensor,
    quality: int,
    order: Callable[[int], Sequence[Step]],
    mean_weights: Mapping[str, Tensor],
) -> tuple[int, list[float]]:
    """Bytes of a segment, and the PSNR of its frames."""
    decode_file = predictor.decode_file
    clips = torch.split(frames_NCHW, CLIP_FRAMES)
    sent: dict[int, PredictedClip] = {}
    decoded: dict[int, Tensor] = {}
    psnr: list[float] = []
    num_bytes = 0
    for step in order(len(clips)):
        clip = clips[step.clip]
        near = None
        if step.reference is not None:
            frame, offset = nearest_frame(step, len(decoded[step.reference]))
            near = (decoded[step.reference][frame], offset)
        predicted = predictor.predict(clip, quality, near, step.depth)
        before = None if step.reference is None else sent[step.reference].symbols
        data = encode_clip(
            decode_file.prior, predicted.step_indices["grid"], predicted.symbols, before
        )
        num_bytes += len(data)
        weights = predicted.weights()
        for name, mean in mean_weights.items():
            weights[name] = mean[:, None, None].expand_as(weights[name])
        sent[step.clip] = predicted
        decoded[step.clip] = decode(decode_file, weights, clip, None if near is None else near[0])
        psnr += _psnr((decoded[step.clip] * 255).round(), clip)
    return num_bytes, psnr


def decode(
    decode_file: DecodeFile, weights: Mapping[str, Tensor], clip: Tensor, reference: Tensor | None
) -> Tensor:
    """Frames of a clip's weights, float in [0, 1], shaped like ``clip``."""
    shape = ClipShape(frames=clip.shape[0], height=clip.shape[2], width=clip.shape[3])
    decoder = Tubelet(decode_file.config, shape, decode_file.base)
    departing = {} if reference is None else {"reference": reference}
    with torch.inference_mode():
        times = torch.arange(shape.frames, dtype=torch.float32)
        return decoder.render({**weights, **departing}, times)


def read_rgb(path: Path, max_frames: int) -> NDArray[np.uint8]:
    """Leading frames of a video, ``(T, H, W, 3)``."""
    frames: list[NDArray[np.uint8]] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            frames.append(frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False))
            if len(frames) == max_frames:
                break
    return np.stack(frames)


def _psnr(decoded: Tensor, clip: Tensor) -> list[float]:
    errors = (decoded.float() - clip.float()).square().mean((1, 2, 3)).clamp(min=1e-3)
    return [10 * math.log10(255**2 / value) for value in errors.tolist()]
