from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.clips import make_clip, moving

SCRIPT = Path(__file__).parents[2] / "docs/train_classifier.py"


def run(*arguments: str) -> str:
    """What the guide's script says; it must succeed."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_classifier_of_the_guide_is_trained_and_tested(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for scene, name in enumerate(["jump", "run"]):
        make_clip(clips / f"{name}.mp4", frames=moving(64, (192, 108), scene=scene))
    said = run("prepare", str(clips), str(tmp_path / "set"), "--preset", "debug")
    assert said.count(" bytes") == 4
    said = run("train", str(tmp_path / "set"), "--epochs", "2", "--workers", "1")
    first, second = (float(loss) for loss in re.findall(r"epoch \d: loss ([\d.]+)", said))
    assert second < first
    assert re.search(r"test: [0-4] of 4 clips right", said)
    assert "waited for the loader" in said
