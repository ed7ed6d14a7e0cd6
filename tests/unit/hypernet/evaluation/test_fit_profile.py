from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hypernet.errors import InvalidSettings
from hypernet.evaluation.fit_profile import METHODS, Profile, ProfileRow, run_profile
from hypernet.evaluation.fit_trial import TOLERANCE, FittedSegment
from hypernet.fitted_presets import NERV, NIRVANA
from tests.clips import make_clip

PROFILE = Profile(
    clips=("clip",), frames=9, width=48, height=32, sizes={"m": 0.8}, points=(("m", 1), ("m", 2))
)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    make_clip(folder / "clip.mp4", num_frames=10)
    return folder


def run(suite: Path, out: Path, methods: tuple[str, ...], seen: list[ProfileRow]) -> Path:
    return run_profile(
        suite=str(suite), out=out, profile=PROFILE, methods=methods, on_row=seen.append
    )


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_every_method_and_budget_is_a_row_with_a_curve(suite: Path, tmp_path: Path) -> None:
    seen, methods = list[ProfileRow](), ("nerv", "nirvana")
    table = run(suite, tmp_path, methods, seen)
    assert [(row.method, row.epochs) for row in seen] == [(m, e) for e in (1, 2) for m in methods]
    assert [line["bytes"] for line in lines(table)] == [str(row.bytes) for row in seen]
    by_method = {row.method: row for row in seen}
    assert by_method["nirvana"].bytes_per_clip.count(",") == 1
    curve = lines(tmp_path / "fit-laptop-curve.tsv")
    last = [line for line in curve if line["method"] == "nerv" and line["epochs"] == "2"][-1]
    assert int(last["step"]) == by_method["nerv"].steps
    assert float(last["seconds"]) <= by_method["nerv"].encode_seconds + 0.01


def test_methods_to_compare_with_differ_in_one_thing() -> None:
    frames = torch.zeros(4, 3, 96, 64, dtype=torch.uint8)
    decoders = {
        name: FittedSegment(family, frames, 2.0).decoder_of(4) for name, family in METHODS.items()
    }
    shared, unshared = decoders["srnerv"], decoders["srnerv-unshared"]
    assert shared.multiply_adds_per_pixel() == unshared.multiply_adds_per_pixel()
    assert len(shared.weight_specs()) < len(unshared.weight_specs())
    plain = {spec.name: spec.shape for spec in decoders["nerv-even"].weight_specs()}
    plus = {spec.name: spec.shape for spec in decoders["nerv-plus"].weight_specs()}
    assert plain["head.weight"] == plus["head.weight"]
    assert plain["stage0.weight"] == plus["stage0.up.weight"]


def test_an_interrupted_profile_goes_on(suite: Path, tmp_path: Path) -> None:
    first: list[ProfileRow] = []
    run(suite, tmp_path, ("nerv",), first)
    more: list[ProfileRow] = []
    table = run(suite, tmp_path, ("nerv", "srnerv"), more)
    assert [row.method for row in more] == ["srnerv", "srnerv"]
    assert len(lines(table)) == len(first) + len(more) == 4


def test_an_unknown_method_lists_those_that_exist(suite: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="nerv, nerv-even, nerv-plus"):
        run(suite, tmp_path, ("hnerv",), [])


def test_the_price_of_a_bit_is_sought_that_gives_the_bytes() -> None:
    noise = torch.rand(3, 3, 4, 6, generator=torch.Generator().manual_seed(2)) * 255
    frames = torch.nn.functional.interpolate(noise, size=(32, 48), mode="bicubic").clamp(0, 255)
    segment = FittedSegment(NERV, frames.to(torch.uint8), 1.5)
    trial, trials = segment.of_target_size(30)
    assert abs(len(trial.payload) / segment.target_bytes - 1) < 2 * TOLERANCE
    assert segment.of_target_size(30)[1] == 1  # it begins where the last search ended
    assert trials >= 1


def test_a_payload_decodes_to_what_was_fitted() -> None:
    flat = torch.full((10, 3, 24, 32), 90, dtype=torch.uint8)
    segment = FittedSegment(replace(NIRVANA, batch_frames=8), flat, 0.5)
    trial = segment.trial(epochs=20, rate_weight=0.001)
    decoded = segment.decoded(trial.payload)
    assert decoded.psnr_db > 30
    assert decoded.ms_ssim is None
    per_clip = segment.bytes_per_clip(trial.payload)
    assert len(per_clip) == 2
    assert sum(per_clip) < len(trial.payload) < sum(per_clip) + 100
