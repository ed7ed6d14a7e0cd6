from __future__ import annotations

import pytest

from hypernet.decoders.coding_order import Step, all_keys, chain, coding_order, nearest_frame


@pytest.mark.parametrize("num_clips", range(1, 20))
def test_every_clip_once_after_its_reference_and_no_more_than_two_others(num_clips: int) -> None:
    order = coding_order(num_clips)
    assert sorted(step.clip for step in order) == list(range(num_clips))
    needs: dict[int, int] = {}
    for step in order:
        needs[step.clip] = 0 if step.reference is None else needs[step.reference] + 1
    assert needs == {step.clip: step.depth for step in order}
    assert max(needs.values()) <= 2
    assert list(needs.values()).count(0) == 1


def test_references_are_near_in_a_long_segment() -> None:
    references = {step.clip: step.reference for step in coding_order(12)}
    assert [references[clip] for clip in range(6)] == [2, 2, 5, 4, 5, None]
    assert [references[clip] for clip in range(6, 12)] == [5, 6, 9, 5, 9, 9]


@pytest.mark.parametrize("num_clips", [1, 2, 8])
def test_the_measured_alternatives_cover_every_clip(num_clips: int) -> None:
    for order in (all_keys(num_clips), chain(num_clips)):
        assert sorted(step.clip for step in order) == list(range(num_clips))


def test_the_nearest_frame_is_at_the_side_of_the_clip() -> None:
    assert nearest_frame(Step(clip=2, reference=1), 8) == (7, -4.5)
    assert nearest_frame(Step(clip=2, reference=3), 8) == (0, 4.5)
    assert nearest_frame(Step(clip=0, reference=2), 3) == (0, 12.5)
    with pytest.raises(ValueError, match="no reference"):
        nearest_frame(Step(clip=0), 8)
