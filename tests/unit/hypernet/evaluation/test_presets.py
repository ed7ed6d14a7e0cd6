from __future__ import annotations

import pytest

from hypernet.errors import InvalidSettings
from hypernet.evaluation.presets import line_up


def test_each_preset_gets_a_ladder_that_suits_it_and_sizes_of_a_family_are_one() -> None:
    codecs = line_up(["fast", "balanced", "nerv-s", "nerv-m", "nerv-l", "nirvana"], (), 20)
    found = {codec.name: codec.qualities for codec in codecs}
    assert found == {
        "fast": (20, 40, 60, 80),
        "balanced": (0,),
        "nerv-s/m/l@20s": (0, 1, 2),
        "nirvana@20s": (30, 70),
    }


def test_a_size_alone_and_given_qualities_stay_what_they_are() -> None:
    assert [c.name for c in line_up(["srnerv-m"], (), 5)] == ["srnerv-m@5s"]
    codecs = line_up(["nerv-s", "nerv-l", "fast"], (10, 90), 5)
    assert [(c.name, c.qualities) for c in codecs] == [
        ("nerv-s@5s", (10, 90)),
        ("nerv-l@5s", (10, 90)),
        ("fast", (10, 90)),
    ]


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(InvalidSettings, match="nerf-s"):
        line_up(["nerf-s"], (), 20)
