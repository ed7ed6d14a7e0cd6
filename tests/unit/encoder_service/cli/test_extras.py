from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from encoder_service.cli.extras import EXTRAS, extra_of

ROOT = Path(__file__).parents[4]


def without(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``nrv`` where a module is not installed."""
    program = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {module!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
from encoder_service.cli.main import main
main({list(arguments)})
"""
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("sqlalchemy", ["migrate"], "service"),
        ("fastapi", ["serve"], "service"),
        ("celery", ["serve"], "worker"),
        ("celery", ["worker"], "worker"),
    ],
)
def test_a_missing_extra_is_named(module: str, arguments: list[str], extra: str) -> None:
    ended = without(module, *arguments)
    assert ended.returncode == 2
    assert f"pip install 'nrv[{extra}]'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_extras_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(EXTRAS) <= set(project["optional-dependencies"])


def test_other_modules_belong_to_no_extra() -> None:
    assert extra_of("torch") is None
    assert extra_of(None) is None
    assert extra_of("celery.app") == "worker"
