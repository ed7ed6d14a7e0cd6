"""What an encoding reports: the object that ``nrv encode --json`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hypernet.decoders import ARCHITECTURES
from hypernet.evaluation.metrics import FRAME_PSNR_LIMIT_DB
from hypernet.plan import EncodeSettings, Plan


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedSegment:
    """A coded segment and what a fresh decoder made of its bytes."""

    payload: bytes
    num_frames: int
    psnr_db: float
    psnr_y_db: float
    refinement_steps: int
    encode_seconds: float
    decode_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodeResult:
    """The object that ``nrv encode --json`` prints; sizes are those of files.

    ``warnings`` says what of the source could not be read, a sentence each.
    """

    source_bytes: int
    stream_bytes: int
    video_bytes: int
    bits_per_pixel: float
    frames: int
    width: int
    height: int
    fps: float | None
    psnr_db: float | None
    psnr_y_db: float | None
    encode_seconds: float
    decode_frames_per_second: float
    preset: str
    decoder: str
    decode_file: str | None
    predictor: str | None
    refinement_steps: int
    target_met: bool | None
    smaller_than_source: bool
    device: str
    threads: int
    warnings: tuple[str, ...]


def summarise(
    plan: Plan,
    settings: EncodeSettings,
    encoded: Sequence[EncodedSegment],
    *,
    source_bytes: int,
    stream_bytes: int,
    audio_bytes: int,
    encode_seconds: float,
) -> EncodeResult:
    """The result of an encoding whose segments are all verified; their payloads are not looked at.

    Quality is the mean over frames; what has no loss at all has no PSNR and meets any target.
    """
    frames, info = plan.num_frames, plan.info
    psnr_db = _finite_db(sum(each.psnr_db * each.num_frames for each in encoded) / frames)
    video_bytes, target = stream_bytes - audio_bytes, settings.goal_psnr_db
    return EncodeResult(
        source_bytes=source_bytes,
        stream_bytes=stream_bytes,
        video_bytes=video_bytes,
        bits_per_pixel=8 * video_bytes / (frames * info.width * info.height),
        frames=frames,
        width=info.width,
        height=info.height,
        fps=None if info.frame_rate is None else float(info.frame_rate),
        psnr_db=psnr_db,
        psnr_y_db=_finite_db(sum(each.psnr_y_db * each.num_frames for each in encoded) / frames),
        encode_seconds=encode_seconds,
        decode_frames_per_second=frames / max(sum(each.decode_seconds for each in encoded), 1e-9),
        preset=settings.preset,
        decoder=ARCHITECTURES[plan.decoder][0].name,
        decode_file=plan.decode_file,
        predictor=plan.predictor,
        refinement_steps=sum(each.refinement_steps for each in encoded),
        target_met=None if target is None else psnr_db is None or psnr_db >= target,
        smaller_than_source=stream_bytes < source_bytes,
        device=settings.torch_device().type,
        threads=torch.get_num_threads(),
        warnings=plan.warnings,
    )


def _finite_db(mean_db: float) -> float | None:
    return None if mean_db >= FRAME_PSNR_LIMIT_DB else mean_db
