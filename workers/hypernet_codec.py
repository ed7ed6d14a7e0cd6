"""The real codec behind the pipeline's protocol. The only module here that leads to torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from hypernet.codec import SourceAudio, assemble
from hypernet.errors import InvalidSettings
from hypernet.plan import EncodeSettings, Plan, Survey, plan_of
from hypernet.predictor.files import find_predictor
from hypernet.presets import find_preset
from hypernet.result import EncodedSegment as VerifiedSegment
from hypernet.result import summarise
from hypernet.segment_encoding import SegmentLimits, collect_frames, encode_frames
from workers.codec import EncodedSegment, Json, SegmentPlan, Supervision
from workers.decode_files import DecodeFiles
from workers.failures import OutOfMemory
from workers.reading.reader import SandboxedReader

CPU_ALLOCATOR = "DefaultCPUAllocator"  # how PyTorch's message for want of memory on a CPU begins


class HypernetCodec:
    """Implements `SegmentCodec`; see `hypernet.codec` for what it does.

    Args:
        reader: reads sources; nobody else here opens one.
        decode_files: finds what streams need besides themselves.
    """

    def __init__(self, reader: SandboxedReader, decode_files: DecodeFiles) -> None:
        self._reader = reader
        self._decode_files = decode_files

    def plan(self, source: Path, settings: Json, supervision: Supervision) -> SegmentPlan:
        """See `SegmentCodec.plan`."""
        wanted = _settings(settings)
        preset = find_preset(wanted.preset)
        if preset.predictor is not None:
            self._decode_files.share(find_predictor(preset.predictor).decode_sha256)
        survey = self._reader.survey(source, preset.segment_frames, supervision.should_stop)
        plan = plan_of(Survey.from_fields(survey), wanted)
        frames = tuple(segment.num_frames for segment in plan.segments)
        return SegmentPlan(plan=plan.to_json(), segment_frames=frames)

    def encode_segment(
        self, source: Path, plan: str, index: int, settings: Json, supervision: Supervision
    ) -> EncodedSegment:
        """See `SegmentCodec.encode_segment`."""
        made, wanted = Plan.from_json(plan), _settings(settings)
        self._decode_files.share(made.decode_file)
        segment = made.segments[index]
        frames = collect_frames(self._reader.frames(source, segment), segment)
        share = segment.num_frames / made.num_frames
        limits = SegmentLimits(
            settings=wanted,
            seconds=(wanted.budget_seconds or math.inf) * share,
            on_progress=lambda progress: supervision.report(progress.fraction),
            should_stop=supervision.should_stop,
        )
        with _memory_errors_translated():
            encoded = encode_frames(frames, made, limits)
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
        planned = Plan.from_json(plan)
        self._decode_files.share(planned.decode_file)  # for the preview
        audio = self._audio(source, output.with_suffix(".audio"))
        made = assemble(planned, payloads, audio, output)
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

    def _audio(self, source: Path, spool: Path) -> SourceAudio:
        dropped = self._reader.copy_audio(source, spool)
        size = spool.stat().st_size
        return SourceAudio(blob=spool if size else None, num_bytes=size, dropped=dropped)


@contextmanager
def _memory_errors_translated() -> Iterator[None]:
    """Raise `OutOfMemory` for PyTorch's words for it, and make room on the GPU for what follows."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise OutOfMemory(f"the GPU has not enough memory: {_first_line(error)}") from error
    except RuntimeError as error:
        if CPU_ALLOCATOR not in str(error):
            raise
        raise OutOfMemory("this machine has not enough memory for the preset") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _settings(settings: Json) -> EncodeSettings:
    try:
        return EncodeSettings(**dict[str, Any](settings))
    except TypeError as error:
        raise InvalidSettings(f"unknown setting: {error}") from None
