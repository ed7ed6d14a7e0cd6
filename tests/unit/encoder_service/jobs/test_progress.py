from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from encoder_service.jobs.progress import Load, Progress, Sample, progress_of
from encoder_service.jobs.records import Encoding, Unit, UnitKey
from encoder_service.jobs.states import EncodingStatus, UnitKind, UnitStatus

START = datetime(2026, 1, 1, tzinfo=UTC)
ENCODING = Encoding(
    id="enc_1",
    owner_id="key_1",
    status=EncodingStatus.ENCODING,
    phase=None,
    source="upload:1",
    settings={},
    priority=5,
    callback_url=None,
    batch_id=None,
    labels=(),
    plan=None,
    num_frames=100,
    retries=0,
    num_events=0,
    result=None,
    stream_key=None,
    error_code=None,
    error_message=None,
    cancel_requested_at=None,
    created_at=START,
    started_at=START,
    finished_at=None,
)


def segment(index: int, status: UnitStatus, frames: int, so_far: int) -> Unit:
    return Unit(
        key=UnitKey(encoding_id="enc_1", kind=UnitKind.SEGMENT, index=index),
        status=status,
        num_frames=frames,
        progress_frames=so_far,
        fallback_preset=None,
        result=None,
        attempt=1,
        lease_owner=None,
        lease_expires_at=None,
        errors=0,
        lost_leases=0,
        error_code=None,
        error_message=None,
    )


UNITS = [
    segment(0, UnitStatus.DONE, 40, 40),
    segment(1, UnitStatus.LEASED, 40, 10),
    segment(2, UnitStatus.QUEUED, 20, 15),  # its last attempt was lost: nothing of it counts
]


def sample(frames: int, seconds: float, **changes: Any) -> Sample:
    usual = Sample(
        encoding_id="enc_0", preset="debug", num_frames=frames, total_frames=80, seconds=seconds
    )
    return replace(usual, **changes)


ALONE = Load(samples=[sample(40, 20)], workers=1, frames_ahead=0, unplanned_ahead=0)


def eta(encoding: Encoding = ENCODING, units: Sequence[Unit] = UNITS, **load: Any) -> float | None:
    return progress_of(encoding, units, replace(ALONE, **load)).eta_seconds


def test_only_verified_frames_are_done_but_running_ones_need_no_time_any_more() -> None:
    progress = progress_of(ENCODING, UNITS, ALONE)
    assert progress == Progress(frames_done=40, frames_total=100, eta_seconds=(30 + 20) / 2)


def test_workers_share_what_is_left_as_far_as_it_can_be_shared() -> None:
    assert eta(workers=2) == 25 / 2
    assert eta(workers=9) == 25 / 2  # two segments are left


def test_a_queue_is_waited_for_by_segments_that_are_in_it() -> None:
    assert eta(frames_ahead=60) == (60 + 50) / 2
    assert eta(frames_ahead=60, unplanned_ahead=2) == (60 + 2 * 80 + 50) / 2
    assert eta(units=UNITS[:2], frames_ahead=60) == 30 / 2  # a worker is at all that is left


def test_a_length_that_nobody_knows_yet_is_taken_to_be_typical() -> None:
    waiting = replace(ENCODING, status=EncodingStatus.QUEUED, num_frames=None)
    assert eta(waiting, [], workers=4) == 80 / 2 / 4


def test_the_nearest_measurement_counts() -> None:
    other, preset, own = (
        sample(10, 100, preset="nerv-s"),
        sample(10, 10),
        sample(10, 5, encoding_id="enc_1"),
    )
    wanted = replace(ENCODING, settings={"preset": "debug"})
    assert eta(wanted, samples=[other]) == 500
    assert eta(wanted, samples=[other, preset]) == 50
    assert eta(wanted, samples=[other, preset, own]) == 25


@pytest.mark.parametrize("status", [EncodingStatus.SUCCEEDED, EncodingStatus.FAILED])
def test_what_has_ended_needs_no_estimate(status: EncodingStatus) -> None:
    assert eta(replace(ENCODING, status=status)) is None


def test_nobody_guesses_without_a_speed() -> None:
    assert eta(samples=[]) is None
    assert eta(samples=[sample(8, 0)]) is None
    assert progress_of(ENCODING, UNITS, None).eta_seconds is None
