"""How far an encoding is, and how long it may still take. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from encoder_service.jobs.records import Encoding, Unit
from encoder_service.jobs.states import ACTIVE, UnitKind, UnitStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A segment that was encoded lately, by whomever and for whomever."""

    encoding_id: str
    preset: object
    num_frames: int  # of the segment
    total_frames: int  # of its encoding
    seconds: float  # that one worker held it


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What an encoding shares its workers with."""

    samples: Sequence[Sample]  # the latest first
    workers: int  # that are at segments now
    frames_ahead: int  # of planned encodings that are served first, still to be encoded
    unplanned_ahead: int  # encodings that are served first and whose length nobody knows yet


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Frames count once they are verified; an estimate exists once there is a speed to go by."""

    frames_done: int
    frames_total: int | None
    eta_seconds: float | None


def progress_of(encoding: Encoding, units: Sequence[Unit], load: Load | None) -> Progress:
    """Progress of an encoding.

    Args:
        encoding: whose.
        units: all of it.
        load: None when it is not known, or too large to be looked at.
    """
    segments = [unit for unit in units if unit.key.kind is UnitKind.SEGMENT]
    done = sum(unit.num_frames for unit in segments if unit.status is UnitStatus.DONE)
    return Progress(
        frames_done=done,
        frames_total=encoding.num_frames,
        eta_seconds=None if load is None else _eta(encoding, segments, load),
    )


def _eta(encoding: Encoding, segments: Sequence[Unit], load: Load) -> float | None:
    """What is ahead of it, shared by all workers, then its own frames, by those that find some."""
    speed = _frames_per_second(encoding, load.samples)
    if encoding.status not in ACTIVE or speed is None:
        return None
    typical = sum(each.total_frames for each in load.samples) / len(load.samples)
    unfinished = [unit for unit in segments if unit.status is not UnitStatus.DONE]
    left = typical if encoding.num_frames is None else sum(map(_frames_left, unfinished))
    waits = encoding.num_frames is None or any(
        unit.status is UnitStatus.QUEUED for unit in unfinished
    )
    ahead = load.frames_ahead + load.unplanned_ahead * typical if waits else 0.0
    workers = max(1, load.workers)
    own_workers = min(workers, max(1, len(unfinished))) if segments else workers
    return (ahead / workers + left / own_workers) / speed


def _frames_per_second(encoding: Encoding, samples: Sequence[Sample]) -> float | None:
    """The speed of one worker: at this encoding, else at its preset, else at anything."""
    own = [each for each in samples if each.encoding_id == encoding.id]
    alike = [each for each in samples if each.preset == encoding.settings.get("preset")]
    chosen = own or alike or samples
    seconds = sum(each.seconds for each in chosen)
    return sum(each.num_frames for each in chosen) / seconds if seconds > 0 else None


def _frames_left(unit: Unit) -> int:
    running = unit.progress_frames if unit.status is UnitStatus.LEASED else 0
    return unit.num_frames - running
