from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hypernet import prediction
from hypernet.codec import EncodeProgress, encode_file
from hypernet.decoders.decode_file import SHIPPED, find_decode_file
from hypernet.decoding import open_stream
from hypernet.errors import Cancelled, InvalidSettings, MissingDecodeFile
from hypernet.evaluation.codecs import read_rgb
from hypernet.evaluation.metrics import compare_videos
from hypernet.plan import EncodeSettings
from hypernet.prediction import loaded_predictor
from hypernet.predictor.files import find_predictor, installed_predictors
from hypernet.predictor.tile_predictor import TilePredictor
from hypernet.presets import DEFAULT_MODEL
from hypernet.quality_search import Trial
from hypernet.segment_encoding import prepared
from tests.clips import make_clip


def fast(**changes: Any) -> EncodeSettings:
    usual: dict[str, Any] = {"preset": "fast", "device": "cpu", "quality": 40}
    return EncodeSettings(**(usual | changes))


@pytest.fixture(name="source", scope="module")
def _source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prediction") / "clip.mkv"
    make_clip(path, num_frames=27, size=(98, 58))
    return path


@pytest.fixture(name="stream", scope="module")
def _stream(source: Path) -> Path:
    output = source.with_suffix(".nrv")
    result = encode_file(source, output, fast())
    assert result.decoder == "tubelet"
    assert result.decode_file == find_predictor(DEFAULT_MODEL).decode_sha256
    assert result.predictor == find_predictor(DEFAULT_MODEL).sha256
    assert result.refinement_steps == 0
    with open_stream(output) as opened:
        decoded = [frame.rgb_HWC for frame in opened.frames()]
    compared = compare_videos(read_rgb(source), decoded)
    assert compared.frames == 27
    assert compared.psnr_db == pytest.approx(result.psnr_db, abs=1e-6)
    return output


def test_any_frame_decodes_alone_as_it_does_in_order(stream: Path) -> None:
    with open_stream(stream) as opened:
        frames = list(opened.frames())
        for number in (0, 7, 8, 13, 26):
            alone = opened.frame(number)
            assert alone.pts == frames[number].pts
            apart = np.abs(alone.rgb_HWC.astype(int) - frames[number].rgb_HWC)
            assert int(apart.max()) <= 1


def test_higher_quality_takes_more_bytes_and_looks_better(source: Path, tmp_path: Path) -> None:
    low, high = (encode_file(source, tmp_path / f"{q}.nrv", fast(quality=q)) for q in (10, 90))
    assert low.stream_bytes < high.stream_bytes
    assert low.psnr_db is not None
    assert high.psnr_db is not None
    assert low.psnr_db < high.psnr_db


@pytest.mark.parametrize("num_frames", [1, 7, 9])
def test_clips_of_any_length_and_tiny_pictures(tmp_path: Path, num_frames: int) -> None:
    source = tmp_path / "tiny.mkv"
    make_clip(source, num_frames=num_frames, size=(6, 4))
    result = encode_file(source, tmp_path / "tiny.nrv", fast())
    assert (result.frames, result.width, result.height) == (num_frames, 6, 4)


def test_the_same_clip_gives_the_same_bytes(source: Path, stream: Path, tmp_path: Path) -> None:
    encode_file(source, tmp_path / "again.nrv", fast())
    assert (tmp_path / "again.nrv").read_bytes() == stream.read_bytes()


def test_clips_that_are_encoded_at_once_are_as_good_as_in_turn(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.get_num_threads() == 1:
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    at_once = encode_file(source, tmp_path / "at_once.nrv", fast())
    monkeypatch.setattr("hypernet.one_thread_each.PIXELS_AT_ONCE", 0)
    in_turn = encode_file(source, tmp_path / "in_turn.nrv", fast())
    assert at_once.psnr_db == pytest.approx(in_turn.psnr_db, abs=0.05)
    assert at_once.stream_bytes == pytest.approx(in_turn.stream_bytes, rel=0.02)


def test_progress_is_by_clips_and_it_stops_when_asked(source: Path, tmp_path: Path) -> None:
    seen: list[EncodeProgress] = []
    output = tmp_path / "stopped.nrv"
    with pytest.raises(Cancelled):
        encode_file(
            source, output, fast(), on_progress=seen.append, should_stop=lambda: len(seen) >= 2
        )
    assert [progress.segment for progress in seen] == [0, 0]
    assert not output.exists()


def test_a_missing_decode_file_is_named_with_what_to_do(
    stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = find_predictor(DEFAULT_MODEL).decode_sha256
    find_decode_file.cache_clear()
    monkeypatch.setattr("hypernet.decoders.decode_file.SHIPPED", tmp_path)
    with pytest.raises(MissingDecodeFile, match=f"{digest}.*NRV_MODELS"), open_stream(stream):
        pass
    # Any folder will do that holds the file.
    monkeypatch.setenv("NRV_MODELS", str(SHIPPED))
    with open_stream(stream) as opened:
        assert opened.frame(3).rgb_HWC.shape == (58, 98, 3)
    find_decode_file.cache_clear()


def test_a_predictor_that_is_not_installed_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="tubelet-none is not installed"):
        find_predictor("tubelet-none")


def calls_of(monkeypatch: pytest.MonkeyPatch, kind: type, name: str) -> list[Any]:
    """Arguments of each call of a method from now on."""
    calls: list[Any] = []
    method = getattr(kind, name)

    def called(*arguments: Any) -> Any:
        calls.append(arguments)
        return method(*arguments)

    monkeypatch.setattr(kind, name, called)
    return calls


@pytest.mark.parametrize("kept", [True, False])
def test_clips_are_analysed_once_for_all_trials_if_they_are_small(
    *, kept: bool, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysed = calls_of(monkeypatch, TilePredictor, "analyse")
    trials = calls_of(monkeypatch, prediction._SegmentWork, "encode")
    if not kept:
        monkeypatch.setattr(prediction, "KEPT_PIXELS", 0)
    settings = fast(preset="nerv-enc", quality=None, target_psnr_db=50.0)
    encode_file(source, tmp_path / "out.nrv", settings)
    assert len(trials) > 1
    assert len(analysed) == 4 * (1 if kept else len(trials))


def test_what_predicts_is_loaded_by_the_end_of_the_block() -> None:
    loaded_predictor.cache_clear()
    with prepared(fast()):
        pass
    assert loaded_predictor.cache_info().currsize == 1
    with prepared(EncodeSettings(preset="debug")):
        pass
    assert loaded_predictor.cache_info().currsize == 1


def test_what_is_shipped_is_small_and_has_a_card() -> None:
    models = installed_predictors()
    assert DEFAULT_MODEL in {model.name for model in models}
    assert sum(model.path.stat().st_size for model in models) <= 40 << 20
    for model in models:
        assert model.path.stat().st_size <= 16 << 20
        assert model.decode_file().path.stat().st_size <= 1 << 20
        card = (model.path.parent / f"{model.name}.md").read_text()
        assert model.decode_file().path.name in card
        assert "licences" in card


def test_balanced_refines_what_fast_predicts(source: Path, stream: Path, tmp_path: Path) -> None:
    output = tmp_path / "balanced.nrv"
    result = encode_file(source, output, fast(preset="balanced", steps=6))
    assert 0 < result.refinement_steps <= 6
    assert result.target_met is None
    assert result.stream_bytes < stream.stat().st_size


def test_balanced_meets_its_own_target_or_says_so(source: Path, tmp_path: Path) -> None:
    settings = EncodeSettings(preset="balanced", device="cpu", steps=4)
    result = encode_file(source, tmp_path / "default.nrv", settings)
    assert result.psnr_db is not None
    assert result.target_met == (result.psnr_db >= 32)
    low = EncodeSettings(preset="fast", device="cpu", target_psnr_db=25.0)
    result = encode_file(source, tmp_path / "low.nrv", low)
    assert result.target_met


def test_only_what_a_search_ends_with_is_refined(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = calls_of(monkeypatch, prediction._SegmentWork, "encode")
    settings = EncodeSettings(preset="balanced", device="cpu", steps=4, target_psnr_db=34.0)
    result = encode_file(source, tmp_path / "out.nrv", settings)
    *searched, last = [(quality, steps) for _, quality, steps in trials]
    assert searched
    assert {steps for _, steps in searched} == {0}
    assert last in [(quality, 4) for quality, _ in searched]
    assert result.refinement_steps == 4
    assert result.target_met


def test_a_refinement_that_misses_the_target_is_not_taken(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = prediction._SegmentWork.encode

    def worse(work: prediction._SegmentWork, quality: int, steps: int) -> Trial:
        trial = method(work, quality, steps)
        return replace(trial, psnr_db=trial.psnr_db - 20) if steps else trial

    monkeypatch.setattr(prediction._SegmentWork, "encode", worse)
    settings = EncodeSettings(preset="balanced", device="cpu", steps=4, target_psnr_db=34.0)
    result = encode_file(source, tmp_path / "out.nrv", settings)
    assert result.refinement_steps == 0
    assert result.target_met


def test_threads_do_not_change_the_decoded_symbols(stream: Path) -> None:
    threads = torch.get_num_threads()
    pictures = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            with open_stream(stream) as opened:
                pictures.append(opened.frame(20).rgb_HWC.astype(int))
    finally:
        torch.set_num_threads(threads)
    assert int(np.abs(pictures[0] - pictures[1]).max()) <= 1
