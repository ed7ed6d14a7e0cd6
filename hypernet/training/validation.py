"""Scores of a predictor on whole frames: decoded PSNR and the bytes that it really takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypernet.bitstream.steps import step_size
from hypernet.decoders.decode_file import DecodeFile
from hypernet.decoders.learned_coding import Symbols, encode_clip
from hypernet.decoders.tubelet import CLIP_FRAMES, Tubelet
from hypernet.predictor.predictor import SEGMENT_REFERENCES, PredictedClip, Predictor
from hypernet.training.losses import symbol_bits
from hypernet.weights import ClipShape

ALL_KEY = (None,) * len(SEGMENT_REFERENCES)
CHAIN = (None, *range(len(SEGMENT_REFERENCES) - 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipScore:
    """One validation video.

    Attributes:
        name: of the file.
        psnr_db: mean over frames, 8-bit RGB.
        bits_per_pixel: entropy-coded weights only, no container.
        tile_share: share of the bits spent on tiles (gains and motion).
    """

    name: str
    psnr_db: float
    bits_per_pixel: float
    tile_share: float


def score_video(
    predictor: Predictor,
    path: Path,
    *,
    quality: int,
    max_frames: int = 64,
    references: Sequence[int | None] = SEGMENT_REFERENCES,
    mean_tiles: Tensor | None = None,
) -> ClipScore:
    """Encode and decode the first frames of a video.

    Args:
        predictor: what is scored.
        path: a video.
        quality: 1 to 100.
        max_frames: leading frames used.
        references: earlier clip that each clip of a segment is coded against.
        mean_tiles: ``(C,)`` replaces the predicted tile vectors when decoding (the ablation).
    """
    frames = read_rgb(path, max_frames)
    decode_file = predictor.decode_file
    sent: list[PredictedClip] = []
    psnr: list[float] = []
    num_bytes, tile_bits = 0, 0.0
    for number, start in enumerate(range(0, len(frames), CLIP_FRAMES)):
        clip = torch.from_numpy(frames[start : start + CLIP_FRAMES]).permute(0, 3, 1, 2)
        predicted = predictor.predict(clip, quality)
        place = number % len(references)
        back = references[place]
        reference = None if back is None else sent[number - place + back].symbols
        num_bytes += len(
            encode_clip(decode_file.prior, predicted.step_index, predicted.symbols, reference)
        )
        tile_bits += _tile_bits(decode_file, predicted, reference)
        sent.append(predicted)
        psnr += _psnr(decode(decode_file, predicted, clip, mean_tiles), clip)
    return ClipScore(
        name=path.stem,
        psnr_db=float(np.mean(psnr)),
        bits_per_pixel=8 * num_bytes / math.prod(frames.shape[:3]),
        tile_share=tile_bits / (8 * num_bytes),
    )


def _tile_bits(
    decode_file: DecodeFile, predicted: PredictedClip, reference: Symbols | None
) -> float:
    tiles = torch.from_numpy(predicted.symbols["tiles"])[None].float()
    before = torch.zeros_like(tiles)
    if reference is not None:
        before = torch.from_numpy(reference["tiles"])[None].float()
    is_inter = torch.tensor([float(reference is not None)])
    step = decode_file.prior.config.step_weights(torch.tensor([predicted.step_index]))
    with torch.inference_mode():
        return float(symbol_bits(tiles, decode_file.prior.tiles(step, before, is_inter)).sum())


def decode(
    decode_file: DecodeFile,
    predicted: PredictedClip,
    clip: Tensor,
    mean_tiles: Tensor | None = None,
) -> Tensor:
    """Frames of predicted symbols, uint8, shaped like ``clip``."""
    shape = ClipShape(frames=clip.shape[0], height=clip.shape[2], width=clip.shape[3])
    decoder = Tubelet(decode_file.config, shape, decode_file.base)
    step = step_size(predicted.step_index)
    weights = {n: torch.from_numpy(s).float() * step for n, s in predicted.symbols.items()}
    if mean_tiles is not None:
        weights["tiles"] = mean_tiles[:, None, None].expand_as(weights["tiles"])
    with torch.inference_mode():
        times = torch.arange(shape.frames, dtype=torch.float32)
        return (decoder.render(weights, times) * 255).round().to(torch.uint8)


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
