from __future__ import annotations

import pytest

from encoder_service.cli import checkup
from hypernet.errors import EncodeFailed
from hypernet.presets import PRESETS
from tests.unit.encoder_service.cli.conftest import Command


def test_a_healthy_machine(nrv: Command) -> None:
    outcome = nrv("doctor", "--json")
    checks = {check["name"]: check for check in outcome.json()["checks"]}
    assert outcome.status == 0
    assert all(check["passed"] for check in checks.values())
    assert checks["presets"]["detail"] == ", ".join(PRESETS)
    assert "and back" in checks["encode and decode"]["detail"]


@pytest.mark.usefixtures("without_kernels")
def test_a_machine_without_a_compiler_is_told_what_it_misses(nrv: Command) -> None:
    outcome = nrv("doctor")
    assert outcome.status == 0
    assert "ok   C kernels: not built" in outcome.out


def test_a_problem_is_named_and_gives_6(nrv: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise EncodeFailed("the disk is made of cheese")

    monkeypatch.setattr(checkup, "_round_trip", fail)
    outcome = nrv("doctor")
    assert outcome.status == 6
    assert "FAIL encode and decode: the disk is made of cheese" in outcome.out
    assert "ok   python: " in outcome.out
