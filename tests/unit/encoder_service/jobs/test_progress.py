from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from encoder_service.jobs.progress import Progress, progress_of
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


def test_only_verified_frames_are_done_but_running_ones_tell_the_speed() -> None:
    progress = progress_of(ENCODING, UNITS, START + timedelta(seconds=100))
    assert progress == Progress(frames_done=40, frames_total=100, eta_seconds=100.0)


@pytest.mark.parametrize(
    "encoding",
    [
        replace(ENCODING, status=EncodingStatus.QUEUED),
        replace(ENCODING, status=EncodingStatus.SUCCEEDED),
        replace(ENCODING, num_frames=None),
        replace(ENCODING, started_at=None),
    ],
)
def test_nobody_guesses_without_a_speed(encoding: Encoding) -> None:
    assert progress_of(encoding, UNITS, START + timedelta(seconds=9)).eta_seconds is None
    assert progress_of(ENCODING, [], START).eta_seconds is None
