from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from hypernet.evaluation import provenance


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository that holds a package of its own."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "code.py").write_text("x = 1\n")
    _git(tmp_path, "init", "-q")
    return tmp_path


def test_the_commit_is_the_head_and_dirty_when_the_package_changed(checkout: Path) -> None:
    package = checkout / "package"
    _git(checkout, "add", "package")
    _git(checkout, "commit", "-q", "-m", "first")
    head = _git(checkout, "rev-parse", "--short=10", "HEAD")

    assert provenance.commit(package) == head
    (checkout / "results.tsv").write_text("rows\n")
    assert provenance.commit(package) == head
    (package / "new.py").write_text("y = 1\n")
    assert provenance.commit(package) == f"{head}+dirty"


def test_code_that_no_commit_holds_is_unknown(checkout: Path) -> None:
    assert provenance.commit(checkout / "package") == "unknown"
    shutil.rmtree(checkout / ".git")
    assert provenance.commit(checkout / "package") == "unknown"


def test_a_machine_without_git_still_measures(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")

    assert provenance.commit(checkout / "package") == "unknown"


def test_the_processor_has_a_name() -> None:
    assert provenance.processor().strip()
