from __future__ import annotations

from pathlib import Path

import pytest

from hypernet.errors import InvalidSettings
from hypernet.training.config import load_config
from hypernet.training.methods import method_of
from tests.unit.hypernet.training.samples import DEBUG


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("debug", 1.5e5),
        ("tiny", 4e6),
        ("base", 8e6),
        ("debug-teconerv", 1.5e5),
        ("debug-nerv-enc", 1.5e5),
        ("teconerv", 4e6),
        ("nerv-enc", 4e6),
    ],
)
def test_shipped_configurations_keep_their_parameter_budget(name: str, limit: float) -> None:
    config = load_config(DEBUG.with_name(f"{name}.toml"))
    model = method_of(config).build()
    assert sum(p.numel() for p in model.parameters()) <= limit
    assert config.data.crop % 32 == 0
    if config.method == "tubelet":
        assert config.name == name
        assert config.data.crop % 64 == 0
    else:
        assert name.endswith(config.method)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("typo = 1", "unknown key 'typo'"),
        ("seed = 'x'", "seed must be int, not str"),
        ("data = 3", "data must be a table"),
        ("[schedule]\nlr = 1.0", "schedule: unknown key 'lr'"),
        ("[model.decoder]\ngrid_channels = 0", "grid_channels is 0"),
        ("[model.prior]\nmiddle = [1, 0]", "an empty one"),
        ("method = 'gan'", "'gan' is not one of tubelet, nerv-enc, teconerv"),
        ("method = 'teconerv'\n[model]\ngrid = 1", "unknown key 'grid'"),
        ("model = 3", "model must be a table"),
        ("= nonsense", "cannot read"),
        ("", "missing"),
    ],
)
def test_bad_configurations_are_refused_by_name(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(line)
    with pytest.raises(InvalidSettings, match=complaint):
        load_config(path)


def test_a_missing_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="cannot read"):
        load_config(tmp_path / "absent.toml")


def test_whole_numbers_serve_as_floats(tmp_path: Path) -> None:
    path = tmp_path / "whole.toml"
    path.write_text(DEBUG.read_text().replace("learning_rate = 1e-3", "learning_rate = 1"))
    assert load_config(path).schedule.learning_rate == 1.0


def test_the_fingerprint_ignores_places_but_not_sizes(tmp_path: Path) -> None:
    moved, resized = tmp_path / "moved.toml", tmp_path / "resized.toml"
    moved.write_text(DEBUG.read_text().replace("data/train", "elsewhere"))
    resized.write_text(DEBUG.read_text().replace("\nwidth = 32", "\nwidth = 34"))
    original = load_config(DEBUG).fingerprint
    assert load_config(moved).fingerprint == original
    assert load_config(resized).fingerprint != original
