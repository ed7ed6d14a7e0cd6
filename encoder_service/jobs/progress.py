"""How far an encoding is, and how long it may still take. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from encoder_service.jobs.records import Encoding, Unit
from encoder_service.jobs.states import EncodingStatus, UnitKind, UnitStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Frames count once they are verified; an estimate exists once there is a speed to go by."""

    frames_done: int
    frames_total: int | None
    eta_seconds: float | None


def progress_of(encoding: Encoding, units: Sequence[Unit], now: datetime) -> Progress:
    """Progress of an encoding at ``now``.

    The speed is that of this encoding so far, waiting included, so an encoding that shares its
    workers with others is not promised more than it gets.
    """
    segments = [unit for unit in units if unit.key.kind is UnitKind.SEGMENT]
    done = sum(unit.num_frames for unit in segments if unit.status is UnitStatus.DONE)
    running = sum(unit.progress_frames for unit in segments if unit.status is UnitStatus.LEASED)
    total = encoding.num_frames
    return Progress(
        frames_done=done,
        frames_total=total,
        eta_seconds=_eta(encoding, done + running, now),
    )


def _eta(encoding: Encoding, frames: int, now: datetime) -> float | None:
    total, started = encoding.num_frames, encoding.started_at
    if encoding.status is not EncodingStatus.ENCODING or not total or not frames or not started:
        return None
    return max(0.0, (now - started).total_seconds()) * (total - frames) / frames
