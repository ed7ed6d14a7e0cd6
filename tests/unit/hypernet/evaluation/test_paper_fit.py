from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from hypernet.decoders.nerv import NervDecoder
from hypernet.decoders.sizing import num_weights
from hypernet.errors import InvalidSettings
from hypernet.evaluation.paper_fit import PaperRow, PaperSetting, paper_config, run_paper
from hypernet.weights import ClipShape
from tests.clips import make_clip

CPU = torch.device("cpu")
SETTING = PaperSetting(frames=4, height=20, width=32, weights=60_000, epochs=4)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", num_frames=5)


class Interrupted(Exception):
    """Raised where a test pulls the plug."""


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_the_network_has_the_papers_size() -> None:
    clip = ClipShape(frames=132, height=640, width=1280)
    decoder = NervDecoder(paper_config(750_000), clip)
    assert 0.95 * 750_000 < num_weights(decoder) <= 750_000
    assert decoder.config.scale == 80


def test_an_interrupted_run_ends_as_if_it_had_not_been(clip: Path, tmp_path: Path) -> None:
    whole = run_paper(clip=clip, out=tmp_path / "a", setting=SETTING, device=CPU, report_every=1)

    def stop(row: PaperRow) -> None:
        if row.epochs == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        run_paper(
            clip=clip,
            out=tmp_path / "b",
            setting=SETTING,
            device=CPU,
            report_every=1,
            on_row=stop,
        )
    resumed = run_paper(clip=clip, out=tmp_path / "b", setting=SETTING, device=CPU, report_every=1)
    qualities = [(row["epochs"], row["psnr_db"]) for row in rows(resumed)]
    assert qualities == [(row["epochs"], row["psnr_db"]) for row in rows(whole)]
    assert [epochs for epochs, _ in qualities] == ["1", "2", "3", "4"]
    assert float(qualities[-1][1]) > float(qualities[0][1])


def test_a_checkpoint_of_another_run_is_not_taken_up(clip: Path, tmp_path: Path) -> None:
    run_paper(clip=clip, out=tmp_path, setting=SETTING, device=CPU)
    longer = PaperSetting(frames=4, height=20, width=32, weights=60_000, epochs=5)
    with pytest.raises(InvalidSettings, match="another run"):
        run_paper(clip=clip, out=tmp_path, setting=longer, device=CPU)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (PaperSetting(frames=6, height=20, width=32), "has 5 frames"),
        (PaperSetting(frames=4, height=2000, width=32), "smaller than"),
    ],
)
def test_a_clip_that_is_not_the_papers_is_refused(
    clip: Path, tmp_path: Path, setting: PaperSetting, words: str
) -> None:
    with pytest.raises(InvalidSettings, match=words):
        run_paper(clip=clip, out=tmp_path, setting=setting, device=CPU)
