"""The real codec behind the pipeline's protocol. The only module here that leads to torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hypernet import codec
from hypernet.errors import InvalidSettings
from hypernet.plan import EncodeSettings, Plan, make_plan
from hypernet.result import EncodedSegment as VerifiedSegment
from hypernet.result import summarise
from workers.codec import EncodedSegment, Json, SegmentPlan, Supervision
from workers.preview import write_preview


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
        audio = codec.copy_audio(source)
        made = codec.assemble(made, payloads, audio, output)
        encoded = [VerifiedSegment(payload=b"", **dict[str, Any](each)) for each in metrics]
        result = summarise(
            made,
            _settings(settings),
            encoded,
            source_bytes=source.stat().st_size,
            stream_bytes=output.stat().st_size,
            audio_bytes=audio.num_bytes,
            encode_seconds=sum(each.encode_seconds for each in encoded),
        )
        return asdict(result)

    def preview(self, stream: Path, output: Path) -> None:
        """See `SegmentCodec.preview`."""
        write_preview(stream, output)


def _settings(settings: Json) -> EncodeSettings:
    try:
        return EncodeSettings(**dict[str, Any](settings))
    except TypeError as error:
        raise InvalidSettings(f"unknown setting: {error}") from None
