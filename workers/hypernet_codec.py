"""The real codec behind the pipeline's protocol. The only module here that leads to torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from hypernet import codec
from hypernet.decoders import ARCHITECTURES
from hypernet.errors import InvalidSettings
from hypernet.evaluation.metrics import FRAME_PSNR_LIMIT_DB
from hypernet.plan import EncodeSettings, Plan, make_plan
from workers.codec import EncodedSegment, Json, SegmentPlan, Supervision


class HypernetCodec:
    """Implements `SegmentCodec`; see `hypernet.codec` for what it does."""

    def plan(self, source: Path, settings: Json) -> SegmentPlan:
        """See `SegmentCodec.plan`."""
        plan = make_plan(source, _settings(settings))
        frames = tuple(segment.num_frames for segment in plan.segments)
        return SegmentPlan(plan=plan.to_json(), segment_frames=frames)

    def encode_segment(
        self, source: Path, plan: str, index: int, settings: Json, supervision: Supervision
    ) -> EncodedSegment:
        """See `SegmentCodec.encode_segment`."""
        encoded = codec.encode_segment(
            source,
            Plan.from_json(plan),
            index,
            _settings(settings),
            on_progress=lambda progress: supervision.report(progress.fraction),
            should_stop=supervision.should_stop,
        )
        metrics = {name: value for name, value in asdict(encoded).items() if name != "payload"}
        return EncodedSegment(
            payload=encoded.payload, num_frames=encoded.num_frames, metrics=metrics
        )

    def assemble(
        self,
        *,
        source: Path,
        plan: str,
        settings: Json,
        payloads: Sequence[Path],
        metrics: Sequence[Json],
        output: Path,
    ) -> Json:
        """See `SegmentCodec.assemble`."""
        made = Plan.from_json(plan)
        audio_bytes = codec.assemble(made, payloads, source, output)
        return _result(
            made,
            _settings(settings),
            metrics,
            source_bytes=source.stat().st_size,
            stream_bytes=output.stat().st_size,
            audio_bytes=audio_bytes,
        )


def _settings(settings: Json) -> EncodeSettings:
    try:
        return EncodeSettings(**dict[str, Any](settings))
    except TypeError as error:
        raise InvalidSettings(f"unknown setting: {error}") from None


def _result(
    plan: Plan,
    settings: EncodeSettings,
    metrics: Sequence[Mapping[str, Any]],
    *,
    source_bytes: int,
    stream_bytes: int,
    audio_bytes: int,
) -> Json:
    def total(name: str) -> float:
        return sum(float(each[name]) for each in metrics)

    def mean_db(name: str) -> float | None:
        mean = sum(each[name] * each["num_frames"] for each in metrics) / plan.num_frames
        return None if mean >= FRAME_PSNR_LIMIT_DB else float(mean)

    psnr_db, target, rate = mean_db("psnr_db"), settings.target_psnr_db, plan.info.frame_rate
    video_bytes = stream_bytes - audio_bytes
    result = codec.EncodeResult(
        source_bytes=source_bytes,
        stream_bytes=stream_bytes,
        video_bytes=video_bytes,
        bits_per_pixel=8 * video_bytes / (plan.num_frames * plan.info.width * plan.info.height),
        frames=plan.num_frames,
        width=plan.info.width,
        height=plan.info.height,
        fps=None if rate is None else float(rate),
        psnr_db=psnr_db,
        psnr_y_db=mean_db("psnr_y_db"),
        encode_seconds=total("encode_seconds"),
        decode_frames_per_second=plan.num_frames / max(total("decode_seconds"), 1e-9),
        preset=settings.preset,
        decoder=ARCHITECTURES[plan.decoder][0].name,
        decode_file=None,
        predictor=None,
        refinement_steps=int(total("refinement_steps")),
        target_met=None if target is None else psnr_db is None or psnr_db >= target,
        smaller_than_source=stream_bytes < source_bytes,
        device=settings.torch_device().type,
        threads=torch.get_num_threads(),
    )
    return asdict(result)
