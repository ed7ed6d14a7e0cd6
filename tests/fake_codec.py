"""A codec without pictures: deterministic, instant, and wrong on request.

A source is JSON: {"segments": [8, 8, 3]}. What a codec is told to do wrong it does so many times.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from hypernet.errors import Cancelled, UnreadableVideo
from workers.codec import EncodedSegment, Json, SegmentPlan, Supervision


def source_of(*segment_frames: int) -> bytes:
    return json.dumps({"segments": segment_frames}).encode()


class FakeCodec:
    """Implements `SegmentCodec`."""

    def __init__(self) -> None:
        self.encoded: Counter[int] = Counter()  # by segment: how often its encoding was finished
        self.presets: list[str] = []
        self.errors: dict[int, list[Exception]] = {}  # by segment: raised one after the other
        self.during_segment: Callable[[int], None] = lambda _: None

    def plan(self, source: Path, settings: Json, supervision: Supervision) -> SegmentPlan:
        assert settings["preset"]
        if supervision.should_stop():
            raise Cancelled("told to stop")
        try:
            frames = json.loads(source.read_bytes())["segments"]
        except ValueError:
            raise UnreadableVideo("the source is not a video") from None
        return SegmentPlan(plan=json.dumps(frames), segment_frames=tuple(frames))

    def encode_segment(
        self, source: Path, plan: str, index: int, settings: Json, supervision: Supervision
    ) -> EncodedSegment:
        self.presets.append(str(settings["preset"]))
        if self.errors.get(index):
            raise self.errors[index].pop(0)
        supervision.report(0.5)
        self.during_segment(index)
        if supervision.should_stop():
            raise Cancelled("told to stop")
        self.encoded[index] += 1
        seed = f"{source.read_text()} {index} {settings['preset']}"
        return EncodedSegment(
            payload=hashlib.sha256(seed.encode()).digest() * 64,
            num_frames=json.loads(plan)[index],
            metrics={"psnr_db": 30.0 + index, "encode_seconds": 0.25},
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
        assert len(payloads) == len(metrics) == len(json.loads(plan))
        output.write_bytes(b"".join(path.read_bytes() for path in payloads))
        return {
            "preset": settings["preset"],
            "frames": sum(json.loads(plan)),
            "source_bytes": source.stat().st_size,
            "stream_bytes": output.stat().st_size,
        }
