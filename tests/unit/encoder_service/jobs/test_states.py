from __future__ import annotations

import itertools

import pytest

from encoder_service.errors import IllegalTransition
from encoder_service.jobs.states import (
    ACTIVE,
    TRANSITIONS,
    EncodingStatus,
    Event,
    ListingStatus,
    UnitStatus,
    Verdict,
    after,
    judge_error,
    judge_lost_lease,
    pause_seconds,
)

LEGAL = {
    ("encoding", "queued", "started", "encoding"),
    ("encoding", "queued", "cancelled", "cancelled"),
    ("encoding", "queued", "failed", "failed"),
    ("encoding", "encoding", "succeeded", "succeeded"),
    ("encoding", "encoding", "failed", "failed"),
    ("encoding", "encoding", "cancelled", "cancelled"),
    ("encoding", "failed", "retried", "queued"),
    ("encoding", "cancelled", "retried", "queued"),
    ("unit", "queued", "leased", "leased"),
    ("unit", "leased", "finished", "done"),
    ("unit", "leased", "erred", "queued"),
    ("unit", "leased", "released", "queued"),
    ("unit", "leased", "lease_lost", "queued"),
    ("unit", "leased", "gave_up", "failed"),
    ("unit", "failed", "retried", "queued"),
    ("unit", "leased", "fell_back", "queued"),
    ("unit", "done", "fell_back", "queued"),
    ("unit", "failed", "fell_back", "queued"),
    ("listing", "queued", "leased", "leased"),
    ("listing", "leased", "finished", "done"),
    ("listing", "leased", "erred", "queued"),
    ("listing", "leased", "released", "queued"),
    ("listing", "leased", "lease_lost", "queued"),
    ("listing", "leased", "gave_up", "failed"),
    ("listing", "queued", "cancelled", "failed"),
    ("listing", "leased", "cancelled", "failed"),
    ("listing", "done", "retried", "queued"),
    ("listing", "failed", "retried", "queued"),
}
MACHINES = {"encoding": EncodingStatus, "unit": UnitStatus, "listing": ListingStatus}
EVERY_STEP = [
    pytest.param(name, status, event, id=f"{name}-{status}-{event}")
    for name, machine in MACHINES.items()
    for status, event in itertools.product(machine, Event)
]


@pytest.mark.parametrize(("name", "status", "event"), EVERY_STEP)
def test_every_state_and_event(name: str, status: EncodingStatus, event: Event) -> None:
    targets = {step[3] for step in LEGAL if step[:3] == (name, status, event)}
    if targets:
        assert {after(status, event)} == targets
    else:
        with pytest.raises(IllegalTransition, match=f"{status} cannot be {event}"):
            after(status, event)


def test_targets_are_states_of_the_same_machine() -> None:
    for machine, steps in TRANSITIONS.items():
        for sources, target in steps.values():
            assert {*sources, target} <= set(machine)


def test_success_is_the_end() -> None:
    assert EncodingStatus.SUCCEEDED not in ACTIVE
    with pytest.raises(IllegalTransition):
        after(EncodingStatus.SUCCEEDED, Event.RETRIED)


@pytest.mark.parametrize(
    ("errors", "can_help", "fallback_left", "verdict"),
    [
        (1, True, True, Verdict.RETRY),
        (2, True, False, Verdict.RETRY),
        (3, True, True, Verdict.FALL_BACK),
        (3, True, False, Verdict.GIVE_UP),
        (1, False, True, Verdict.GIVE_UP),
    ],
)
def test_errors_are_capped(
    errors: int, can_help: bool, fallback_left: bool, verdict: Verdict
) -> None:
    judged = judge_error(errors, max_errors=3, can_help=can_help, fallback_left=fallback_left)
    assert judged is verdict


def test_lost_leases_are_capped() -> None:
    assert judge_lost_lease(4, max_lost_leases=5, fallback_left=True) is Verdict.RETRY
    assert judge_lost_lease(5, max_lost_leases=5, fallback_left=True) is Verdict.FALL_BACK
    assert judge_lost_lease(5, max_lost_leases=5, fallback_left=False) is Verdict.GIVE_UP


def test_pauses_double_up_to_the_longest() -> None:
    pauses = [pause_seconds(failures, first=2, longest=60) for failures in (1, 2, 3, 5, 6, 5000)]
    assert pauses == [2, 4, 8, 32, 60, 60]
