from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hypernet.decoders.clip_motion import SWAYS
from hypernet.decoders.coding_order import all_keys
from hypernet.decoders.learned_coding import decode_clip, encode_clip
from hypernet.errors import InvalidSettings, OutputNotWritable
from hypernet.predictor.predictor import load_predictor
from hypernet.training.export import ExportedModel, export_model
from hypernet.training.trainer import train
from hypernet.training.validation import score_video
from tests.unit.hypernet.training.samples import make_config, make_sources, write_video


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    sources = make_sources(folder)
    (folder / "MANIFEST.csv").write_text(
        "file,licence_as_stated_by_repo\ntrain/aa_one.mp4,MIT\ntrain/bb_two.mkv,\n"
    )
    (folder / "val").mkdir()
    write_video(folder / "val" / "val_one.mp4", 19, (70, 50), 5)
    train(make_config(folder, sources, steps="3", val=f'"{folder / "val"}"'))
    return folder


@pytest.fixture(name="exported", scope="module")
def _exported(folder: Path) -> ExportedModel:
    return export_model(
        folder / "run.toml", folder / "models", qualities=(20, 60), remarks="Only a test."
    )


def test_the_card_says_what_a_user_must_know(exported: ExportedModel) -> None:
    card = exported.card.read_text()
    for text in (
        "Only a test.",
        "| aa | 1 | MIT (1) |",
        "| bb | 1 | none stated (1) |",
        "| stills | 1 | not recorded (1) |",
        "| val_one |",
        "--resume",
        "Skipped cc_text.mp4",
        exported.decode_file.name,
    ):
        assert text in card


def test_exported_files_encode_and_decode(exported: ExportedModel) -> None:
    predictor = load_predictor(exported.predictor, exported.decode_file)
    clip = torch.randint(0, 256, (8, 3, 40, 72), dtype=torch.uint8)
    predicted = predictor.predict(clip, 50)
    prior = predictor.decode_file.prior
    coded = encode_clip(prior, predicted.step_indices["grid"], predicted.symbols, None)
    shapes = {name: values.shape for name, values in predicted.symbols.items()}
    decoded = decode_clip(prior, predicted.step_indices["grid"], coded, shapes, None)
    for name, values in decoded.items():
        np.testing.assert_array_equal(values, predicted.symbols[name])


def test_scores_are_of_the_bytes_that_are_written(exported: ExportedModel, folder: Path) -> None:
    predictor = load_predictor(exported.predictor, exported.decode_file)
    video = folder / "val" / "val_one.mp4"
    low, high = (score_video(predictor, video, quality=q) for q in (1, 100))
    assert low.name == "val_one"
    assert 0 < low.bits_per_pixel < high.bits_per_pixel
    assert low.psnr_db < high.psnr_db
    alone = score_video(predictor, video, quality=1, order=all_keys)
    assert alone.bits_per_pixel != low.bits_per_pixel
    means = score_video(
        predictor,
        video,
        quality=1,
        order=all_keys,
        mean_weights={"sway": torch.ones(2 * SWAYS)},
    )
    assert means.bits_per_pixel == alone.bits_per_pixel
    assert means.psnr_db != alone.psnr_db


def test_there_must_be_a_checkpoint_of_that_configuration(folder: Path) -> None:
    other = make_config(folder, folder / "sources", "other")
    with pytest.raises(InvalidSettings, match="cannot read checkpoint"):
        export_model(other, folder / "models", qualities=(50,))


def test_a_folder_that_cannot_be_written(folder: Path) -> None:
    (folder / "blocked").write_text("a file is in the way")
    with pytest.raises(OutputNotWritable, match="cannot write"):
        export_model(folder / "run.toml", folder / "blocked", qualities=(50,))
