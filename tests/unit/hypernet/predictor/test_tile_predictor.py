from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from hypernet.bitstream.segment import TABLE_CODING
from hypernet.decoders.coding_order import all_keys, each_after_another
from hypernet.decoders.decode_file import load_decode_file
from hypernet.decoders.hyponet import Hyponet
from hypernet.errors import InvalidSettings, UnreadableInput
from hypernet.predictor.predictor import load_clip_predictor, load_predictor
from hypernet.predictor.tile_predictor import TilePredictor
from hypernet.weights import ClipShape
from tests.unit.hypernet.predictor.factor_samples import SMALL, WHOLE, write_pair


@pytest.fixture(name="predictor", scope="module")
def _predictor(tmp_path_factory: pytest.TempPathFactory) -> TilePredictor:
    predictor = load_clip_predictor(*write_pair(tmp_path_factory.mktemp("tiles")))
    assert isinstance(predictor, TilePredictor)
    return predictor


@pytest.mark.parametrize(
    ("frames", "height", "width"), [(8, 32, 32), (1, 64, 33), (7, 40, 100), (3, 5, 9)]
)
def test_symbols_have_the_shapes_that_the_decoder_asks_for(
    predictor: TilePredictor, frames: int, height: int, width: int
) -> None:
    clip = torch.randint(0, 256, (frames, 3, height, width), dtype=torch.uint8)
    predicted = predictor.predict(clip, 50)
    decoder = predictor.decode_file.decoder(ClipShape(frames=frames, height=height, width=width))
    assert isinstance(decoder, Hyponet)
    for spec in decoder.weight_specs():
        assert predicted.symbols[spec.name].shape == spec.shape
        assert predicted.symbols[spec.name].dtype == np.int32
    shown = decoder.render(predicted.weights(), torch.arange(float(frames)))
    assert shown.shape == clip.shape


def test_symbols_survive_the_coding(predictor: TilePredictor) -> None:
    clip = torch.rand(8, 3, 40, 70, generator=torch.Generator().manual_seed(0))
    before, now = predictor.predict(clip, 60).symbols, predictor.predict(clip * 0.98, 60).symbols
    specs = predictor.decode_file.decoder(ClipShape(frames=8, height=40, width=70)).weight_specs()
    assert predictor.decode_file.coding is TABLE_CODING
    alone = TABLE_CODING.encode(now, specs, (0, 0, 0), None)
    against = TABLE_CODING.encode(now, specs, (0, 0, 0), before)
    assert len(against) < len(alone)
    decoded = TABLE_CODING.decode(against, specs, (0, 0, 0), before)
    assert all(np.array_equal(decoded[name], now[name]) for name in now)


def test_higher_quality_has_finer_steps(predictor: TilePredictor) -> None:
    clip = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    low, high = predictor.predict(clip, 1), predictor.predict(clip, 100)
    assert low.step_indices["layer1.factors"] - high.step_indices["layer1.factors"] == 48
    assert np.abs(high.symbols["layer1.factors"]).sum() > 0
    sizes = [np.abs(each.symbols["layer1.factors"]).sum() for each in (low, high)]
    assert sizes[1] > 4 * sizes[0]


@pytest.mark.parametrize("quality", [0, 101])
def test_qualities_out_of_range_are_refused(predictor: TilePredictor, quality: int) -> None:
    with pytest.raises(InvalidSettings, match=r"1\.\.100"):
        predictor.predict(torch.zeros(8, 3, 32, 32), quality)


def test_tiles_are_coded_one_clip_after_another(predictor: TilePredictor) -> None:
    assert predictor.coding_order(4) == each_after_another(4)
    assert [step.reference for step in predictor.coding_order(4)] == [None, 0, 1, 2]


def test_whole_frames_are_coded_alone(tmp_path: Path) -> None:
    predictor = load_clip_predictor(*write_pair(tmp_path, WHOLE))
    assert predictor.coding_order(3) == all_keys(3)
    symbols = predictor.predict(torch.rand(2, 3, 50, 99), 50).symbols
    assert symbols["layer1.factors"].shape == (12, 33, 1)


def test_kernels_come_from_the_decode_file(tmp_path: Path) -> None:
    path, decode_path = write_pair(tmp_path)
    predictor = load_clip_predictor(path, decode_path)
    assert isinstance(predictor, TilePredictor)
    base = load_decode_file(decode_path).base
    for name, kernel in predictor._model.base().items():
        assert torch.equal(kernel, base[name])


def test_it_is_not_a_predictor_of_tubelets(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match="does not predict tubelets"):
        load_predictor(*write_pair(tmp_path))


def test_a_predictor_file_that_lacks_tensors(tmp_path: Path) -> None:
    path, decode_path = write_pair(tmp_path)
    tensors = load(path.read_bytes())
    del tensors["places"]
    header = {
        "format": "hyponet-predictor-1",
        "tokens": json.dumps(SMALL.tokens),
        "patch": "8",
        "transformer": json.dumps({"width": 64, "depth": 2, "heads": 2, "mlp_ratio": 1.0}),
        "middle_steps": json.dumps({0: 1, 1: 1, 2: 1}),
        "decode_file": load_decode_file(decode_path).sha256,
    }
    path.write_bytes(save(tensors, metadata=header))
    with pytest.raises(UnreadableInput, match="places"):
        load_clip_predictor(path, decode_path)
