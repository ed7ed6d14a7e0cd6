from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from hypernet.decoders.decode_file import decode_file_name, load_decode_file, pack_decode_file
from hypernet.decoders.tubelet import Tubelet
from hypernet.errors import InvalidSettings, MissingDecodeFile, UnreadableInput
from hypernet.predictor.predicted import NearClip
from hypernet.predictor.predictor import FORMAT, Predictor, load_predictor, pack_predictor
from hypernet.weights import ClipShape
from tests.unit.hypernet.predictor.samples import SHAKE, SMALL, drifting, shaking, small_model


def _write_decode_file(folder: Path, seed: int = 0) -> Path:
    model = small_model(seed)
    data = pack_decode_file(SMALL.decoder, model.base(), model.prior)
    path = folder / decode_file_name(data)
    path.write_bytes(data)
    return path


def _write_pair(folder: Path) -> tuple[Path, Path]:
    decode_path = _write_decode_file(folder)
    path = folder / "small.predictor.safetensors"
    path.write_bytes(pack_predictor(small_model(), load_decode_file(decode_path).sha256))
    return path, decode_path


@pytest.fixture(name="predictor")
def _predictor(tmp_path: Path) -> Predictor:
    return load_predictor(*_write_pair(tmp_path))


@pytest.mark.parametrize(
    ("frames", "height", "width"), [(8, 64, 64), (1, 16, 16), (7, 33, 150), (3, 5, 200)]
)
def test_symbols_have_the_shapes_that_the_decoder_asks_for(
    predictor: Predictor, frames: int, height: int, width: int
) -> None:
    clip = torch.randint(0, 256, (frames, 3, height, width), dtype=torch.uint8)
    predicted = predictor.predict(clip, 50)
    decoder = Tubelet(SMALL.decoder, ClipShape(frames=frames, height=height, width=width))
    for spec in decoder.weight_specs():
        assert predicted.symbols[spec.name].shape == spec.shape
        assert predicted.symbols[spec.name].dtype == np.int32


def test_a_clip_is_predicted_alike_every_time_and_from_either_type(predictor: Predictor) -> None:
    clip = torch.randint(0, 256, (8, 3, 64, 80), dtype=torch.uint8)
    once, again = predictor.predict(clip, 30), predictor.predict(clip.float() / 255, 30)
    for name, symbols in once.symbols.items():
        np.testing.assert_array_equal(symbols, again.symbols[name])


def test_higher_quality_has_finer_steps_and_larger_symbols(predictor: Predictor) -> None:
    clip = torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8)
    low, high = (predictor.predict(clip, quality, depth=1) for quality in (1, 100))
    assert low.step_indices["grid"] - high.step_indices["grid"] == 32
    assert np.abs(high.symbols["grid"]).sum() > 2 * np.abs(low.symbols["grid"]).sum()


def test_clips_that_others_need_have_finer_steps(predictor: Predictor) -> None:
    clip = torch.zeros(8, 3, 16, 16)
    steps = [predictor.predict(clip, 50, depth=d).step_indices["grid"] for d in (0, 1, 2, 3)]
    assert steps[0] < steps[1] < steps[2] == steps[3]


@pytest.mark.parametrize("quality", [0, 101])
def test_qualities_out_of_range_are_refused(predictor: Predictor, quality: int) -> None:
    with pytest.raises(InvalidSettings, match=r"1\.\.100"):
        predictor.predict(torch.zeros(8, 3, 16, 16), quality)


def test_a_clip_like_its_reference_sends_less(predictor: Predictor) -> None:
    clip = drifting(16, 64, 96, 0.5)
    alone = predictor.predict(clip[8:], 60)
    grid = np.zeros_like(alone.symbols["grid"])
    near = NearClip(picture=clip[7], offset=-4.5, grid=grid)
    against = predictor.predict(clip[8:], 60, near)
    assert not alone.symbols["gate"].any()
    assert not alone.symbols["motion"][2:].any()
    assert np.abs(against.symbols["grid"]).sum() < 0.5 * np.abs(alone.symbols["grid"]).sum()


def test_a_clip_that_shakes_sends_a_sway(predictor: Predictor) -> None:
    clips = shaking(SHAKE, 128, 160), drifting(8, 128, 160)
    shaken, smooth = (predictor.predict(clip, 60) for clip in clips)
    assert shaken.symbols["sway"].any()
    assert shaken.step_indices["sway"] == shaken.step_indices["motion"]
    assert not smooth.symbols["sway"].any()


def test_a_decode_file_renders_what_was_packed(tmp_path: Path) -> None:
    decode_file = load_decode_file(_write_decode_file(tmp_path))
    model = small_model()
    for name, value in model.base().items():
        torch.testing.assert_close(decode_file.base[name], value.detach(), atol=1e-3, rtol=1e-3)
    integers = model.prior.integers()
    assert all(torch.equal(v, integers[n]) for n, v in decode_file.prior.integers().items())


def test_a_damaged_decode_file_is_named_by_its_hash(tmp_path: Path) -> None:
    path = _write_decode_file(tmp_path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(MissingDecodeFile, match="damaged"):
        load_decode_file(path)


@pytest.mark.parametrize("content", [None, b"", b"not a model"])
def test_a_decode_file_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "0123456789abcdef.decode.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MissingDecodeFile, match="cannot read"):
        load_decode_file(path)


def test_a_decode_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    data: bytes = save({"x": torch.zeros(1)}, metadata={"format": "other"})
    path = tmp_path / decode_file_name(data)
    path.write_bytes(data)
    with pytest.raises(MissingDecodeFile, match="'other'"):
        load_decode_file(path)


def test_a_predictor_refuses_the_decode_file_of_another(tmp_path: Path) -> None:
    path, _ = _write_pair(tmp_path)
    with pytest.raises(InvalidSettings, match="not trained with"):
        load_predictor(path, _write_decode_file(tmp_path, seed=1))


@pytest.mark.parametrize("content", [None, b"", b"not a model"])
def test_a_predictor_file_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    decode_path = _write_decode_file(tmp_path)
    path = tmp_path / "p.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadableInput, match="cannot read"):
        load_predictor(path, decode_path)


def test_a_predictor_file_that_lacks_tensors(tmp_path: Path) -> None:
    path, decode_path = _write_pair(tmp_path)
    tensors = load(path.read_bytes())
    del tensors["shift_head.weight"]
    header = {
        "format": FORMAT,
        "transformer": json.dumps({"width": 32, "heads": 2, "depth": 2, "mlp_ratio": 2.0}),
        "decode_file": load_decode_file(decode_path).sha256,
    }
    path.write_bytes(save(tensors, metadata=header))
    with pytest.raises(UnreadableInput, match="shift_head"):
        load_predictor(path, decode_path)


def test_a_predictor_file_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    path.write_bytes(save({"x": torch.zeros(1)}, metadata={"format": "other"}))
    with pytest.raises(UnreadableInput, match="'other'"):
        load_predictor(path, _write_decode_file(tmp_path))
