"""The state machine of encodings and of the units of work they are made of. Pure.

States are facts; a wish (cancel) is a column. An encoding is planned, its segments are encoded in
any order, and the results are assembled: each of these is a *unit*, leased by one worker at a time.

    encoding   queued -> encoding -> succeeded | failed | cancelled
               queued -> cancelled | failed;  failed, cancelled -> queued (retry)
    unit       queued -> leased -> done | failed
               leased -> queued (error, release, lost lease);  failed -> queued (retry)
               leased, done, failed -> queued (the encoding falls back to a cheaper preset)
    listing    like a unit;  done, failed -> queued (the batch is asked for again)
               queued, leased -> failed (the batch is cancelled)
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from encoder_service.errors import IllegalTransition


class EncodingStatus(StrEnum):
    """Where an encoding is."""

    QUEUED = "queued"  # submitted, no worker has touched it
    ENCODING = "encoding"  # a worker has leased one of its units at least once
    SUCCEEDED = "succeeded"  # the stream is published
    FAILED = "failed"  # one unit failed for good
    CANCELLED = "cancelled"  # asked for, and no worker is at it any more


class Phase(StrEnum):
    """What an encoding that is being encoded is waiting for."""

    PLAN = "plan"
    ENCODE = "encode"
    ASSEMBLE = "assemble"
    PUBLISH = "publish"


class UnitStatus(StrEnum):
    """Where a unit of work is."""

    QUEUED = "queued"  # to be done
    LEASED = "leased"  # one worker is at it and sends heartbeats
    DONE = "done"  # its result is stored; never done again
    FAILED = "failed"  # its attempts are used up, or its input is hopeless


class ListingStatus(StrEnum):
    """Where the listing of a batch is: the search for objects that become its encodings."""

    QUEUED = "queued"
    LEASED = "leased"
    DONE = "done"
    FAILED = "failed"


class CallbackStatus(StrEnum):
    """Where the news of an ended encoding is."""

    PENDING = "pending"  # to be sent, perhaps again
    DELIVERED = "delivered"  # the receiver said 2xx
    GAVE_UP = "gave_up"  # sent in vain too often


class UnitKind(StrEnum):
    """What a unit of work does."""

    PLAN = "plan"  # find the source, read it, cut it into segments
    SEGMENT = "segment"  # encode and verify one segment
    ASSEMBLE = "assemble"  # copy the segments into one stream and publish it


class Event(StrEnum):
    """What happened to an encoding or to a unit; each is one row of its history."""

    SUBMITTED = "submitted"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RETRIED = "retried"
    CANCEL_REQUESTED = "cancel_requested"
    LEASED = "leased"
    FINISHED = "finished"
    ERRED = "erred"
    RELEASED = "released"
    LEASE_LOST = "lease_lost"
    GAVE_UP = "gave_up"
    FELL_BACK = "fell_back"
    PREVIEWED = "previewed"
    PREVIEW_FAILED = "preview_failed"


class Outcome(StrEnum):
    """How an attempt ended."""

    DONE = "done"
    ERROR = "error"  # our code or its input; counted against ``max_errors``
    RELEASED = "released"  # worker told to stop, encoding cancelled, or a service was out of reach
    LEASE_LOST = "lease_lost"  # heartbeats stopped; counted against ``max_lost_leases``


Machine = type[EncodingStatus] | type[UnitStatus] | type[ListingStatus]

# The only steps there are: event -> (states it may happen in, state it leads to).
TRANSITIONS: Mapping[Machine, Mapping[Event, tuple[frozenset[str], str]]] = MappingProxyType(
    {
        EncodingStatus: {
            Event.STARTED: (frozenset({EncodingStatus.QUEUED}), EncodingStatus.ENCODING),
            Event.SUCCEEDED: (frozenset({EncodingStatus.ENCODING}), EncodingStatus.SUCCEEDED),
            Event.FAILED: (
                # A retried encoding is queued while a unit of its earlier life may still be leased.
                frozenset({EncodingStatus.QUEUED, EncodingStatus.ENCODING}),
                EncodingStatus.FAILED,
            ),
            Event.CANCELLED: (
                frozenset({EncodingStatus.QUEUED, EncodingStatus.ENCODING}),
                EncodingStatus.CANCELLED,
            ),
            Event.RETRIED: (
                frozenset({EncodingStatus.FAILED, EncodingStatus.CANCELLED}),
                EncodingStatus.QUEUED,
            ),
        },
        UnitStatus: {
            Event.LEASED: (frozenset({UnitStatus.QUEUED}), UnitStatus.LEASED),
            Event.FINISHED: (frozenset({UnitStatus.LEASED}), UnitStatus.DONE),
            Event.ERRED: (frozenset({UnitStatus.LEASED}), UnitStatus.QUEUED),
            Event.RELEASED: (frozenset({UnitStatus.LEASED}), UnitStatus.QUEUED),
            Event.LEASE_LOST: (frozenset({UnitStatus.LEASED}), UnitStatus.QUEUED),
            Event.GAVE_UP: (frozenset({UnitStatus.LEASED}), UnitStatus.FAILED),
            Event.RETRIED: (frozenset({UnitStatus.FAILED}), UnitStatus.QUEUED),
            Event.FELL_BACK: (
                frozenset({UnitStatus.LEASED, UnitStatus.DONE, UnitStatus.FAILED}),
                UnitStatus.QUEUED,
            ),
        },
        ListingStatus: {
            Event.LEASED: (frozenset({ListingStatus.QUEUED}), ListingStatus.LEASED),
            Event.FINISHED: (frozenset({ListingStatus.LEASED}), ListingStatus.DONE),
            Event.ERRED: (frozenset({ListingStatus.LEASED}), ListingStatus.QUEUED),
            Event.RELEASED: (frozenset({ListingStatus.LEASED}), ListingStatus.QUEUED),
            Event.LEASE_LOST: (frozenset({ListingStatus.LEASED}), ListingStatus.QUEUED),
            Event.GAVE_UP: (frozenset({ListingStatus.LEASED}), ListingStatus.FAILED),
            Event.CANCELLED: (
                frozenset({ListingStatus.QUEUED, ListingStatus.LEASED}),
                ListingStatus.FAILED,
            ),
            Event.RETRIED: (
                frozenset({ListingStatus.DONE, ListingStatus.FAILED}),
                ListingStatus.QUEUED,
            ),
        },
    }
)

# The states in which workers may still take and finish units of an encoding.
ACTIVE = frozenset({EncodingStatus.QUEUED, EncodingStatus.ENCODING})


def after(status: EncodingStatus | UnitStatus | ListingStatus, event: Event) -> str:
    """The state that ``event`` leads to.

    Raises:
        IllegalTransition: there is no such step.
    """
    sources, target = TRANSITIONS[type(status)].get(event, (frozenset(), ""))
    if status not in sources:
        raise IllegalTransition(f"what is {status} cannot be {event}")
    return target


class Verdict(StrEnum):
    """What becomes of a unit after a failed attempt."""

    RETRY = "retry"
    FALL_BACK = "fall_back"  # retry with a cheaper preset
    GIVE_UP = "give_up"  # and fail the encoding


def judge_error(errors: int, *, max_errors: int, can_help: bool, fallback_left: bool) -> Verdict:
    """Decide what follows an in-process error.

    Args:
        errors: errors of this unit with its present preset, this one included.
        max_errors: how many are one too many.
        can_help: False when trying again cannot help (the source is not a video).
        fallback_left: a cheaper preset could help, and was not tried yet.
    """
    if not can_help:
        return Verdict.GIVE_UP
    if errors < max_errors:
        return Verdict.RETRY
    return Verdict.FALL_BACK if fallback_left else Verdict.GIVE_UP


def judge_lost_lease(lost_leases: int, *, max_lost_leases: int, fallback_left: bool) -> Verdict:
    """Decide what follows a lost lease; ``lost_leases`` includes this one."""
    return judge_error(
        lost_leases, max_errors=max_lost_leases, can_help=True, fallback_left=fallback_left
    )


def pause_seconds(failures: int, *, first: float, longest: float) -> float:
    """How long to wait after so many failures, at least 1: doubles each time up to ``longest``."""
    return min(longest, first * 2.0 ** min(failures - 1, 32))
