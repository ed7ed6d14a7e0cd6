from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypernet.errors import InvalidSettings
from hypernet.loading.clip_choice import ClipOrder, ConsecutiveClips, RandomClips


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(1, 9))
def test_consecutive_clips_cover_every_stream(num_frames: list[int], span: int) -> None:
    clips = ConsecutiveClips(num_frames, span)
    places = [(clips.stream_of(n), clips.first_frame(n, 0, 0)) for n in range(len(clips))]
    expected = [
        (stream, start * span)
        for stream, frames in enumerate(num_frames)
        for start in range(max(1, frames // span))
    ]
    assert places == expected


def test_random_clips_reach_every_place() -> None:
    clips = RandomClips(streams=2, per_stream=50, seed=3)
    assert {clips.first_frame(number, 0, 4) for number in range(len(clips))} == {0, 1, 2, 3, 4}
    assert [clips.stream_of(number) for number in range(4)] == [0, 1, 0, 1]


@given(st.integers(1, 50), st.integers(1, 7), st.booleans(), st.integers(0, 3))
def test_ranks_get_equally_many_and_together_all(
    length: int, world_size: int, shuffle: bool, epoch: int
) -> None:
    orders = []
    for rank in range(world_size):
        order = ClipOrder(length, shuffle=shuffle, seed=1, rank=rank, world_size=world_size)
        order.epoch = epoch
        orders.append(list(order))
        assert len(orders[-1]) == len(order)
    assert {number for order in orders for number in order} == set(range(length))
    assert sum(map(len, orders)) < length + world_size


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    one, same, other = (ClipOrder(30, seed=seed) for seed in (1, 1, 2))
    assert list(one) == list(same) != list(other)
    same.epoch = 1
    assert list(one) != list(same)
    one.start = 12
    same.epoch = 0
    assert list(one) == list(same)[12:]


def test_there_is_no_such_rank() -> None:
    with pytest.raises(InvalidSettings, match="rank 2 of 2"):
        ClipOrder(4, rank=2, world_size=2)
