from __future__ import annotations

import ast
import math
import subprocess
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from hypernet.errors import InvalidSettings
from hypernet.evaluation.load_benchmark import (
    LoadPlan,
    LoadRow,
    all_methods,
    random_firsts,
    run_load,
    sequential_firsts,
)
from hypernet.evaluation.load_methods import H264, JpegTar, LoadMethod, RawFrames, Wanted
from hypernet.evaluation.load_plot import plot_load
from hypernet.evaluation.load_readers import PyAvReader
from hypernet.evaluation.load_soak import SoakRow, growth, run_soak
from hypernet.evaluation.load_source import LoadSource, fitted, join_clips
from tests.clips import make_clip, moving

NUM_FRAMES = 72
ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    for scene in range(2):
        make_clip(folder / f"{scene}.mp4", frames=moving(40, (64, 48), scene=scene))
    return folder


@pytest.fixture(scope="module")
def source(suite: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadSource:
    folder = tmp_path_factory.mktemp("source")
    return join_clips(str(suite), folder, size=(32, 32), num_frames=NUM_FRAMES)


def plan(suite: Path, **settings: object) -> LoadPlan:
    given = {
        "suite": str(suite),
        "presets": ("debug",),
        "workers": (0,),
        "sizes": ((32, 32),),
        "num_frames": NUM_FRAMES,
        "seconds": 0.05,
    }
    return LoadPlan(**(given | settings))  # type: ignore[arg-type]


def test_the_source_is_joined_once(suite: Path, source: LoadSource) -> None:
    frames = source.frames()
    assert frames.shape == (NUM_FRAMES, 32, 32, 3)
    assert source.num_bytes == frames.nbytes
    cut = np.abs(np.diff(frames.astype(int), axis=0)).mean(axis=(1, 2, 3))
    assert cut.argmax() == 39  # where the second clip begins
    written = source.path.stat().st_mtime_ns
    join_clips(str(suite), source.path.parent, size=(32, 32), num_frames=NUM_FRAMES)
    assert source.path.stat().st_mtime_ns == written


def test_a_suite_of_too_few_frames_is_refused(suite: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="have 80 frames, 500 are needed"):
        join_clips(str(suite), tmp_path, size=(32, 32), num_frames=500)
    assert list(tmp_path.iterdir()) == []


def test_pictures_are_cropped_to_the_shape_and_scaled() -> None:
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, 20:60] = 200
    assert (fitted(picture, 20, 20) == 200).all()
    assert fitted(picture, 80, 40) is not None
    assert (fitted(picture, 80, 40) == picture).all()
    assert fitted(picture, 30, 10).shape == (10, 30, 3)


@pytest.mark.parametrize(
    "method",
    [H264(key_interval=12, reader="pyav"), H264(key_interval=250, reader="pyav"), JpegTar()],
    ids=lambda method: method.name,
)
def test_others_read_the_clips_that_are_asked_for(
    method: LoadMethod, source: LoadSource, tmp_path: Path
) -> None:
    stored = method.store(source, tmp_path)
    firsts = [40, 3, 11, 64, 41]
    wanted = Wanted(
        firsts=firsts, clip_frames=8, batch_size=2, workers=0, device=torch.device("cpu")
    )
    clips = torch.cat(list(method.batches(stored, wanted)))
    assert clips.shape == (5, 8, 3, 32, 32)
    frames = source.frames()
    for first, clip in zip(firsts, clips, strict=True):
        reference = frames[first : first + 8].transpose(0, 3, 1, 2).astype(int)
        assert np.abs(clip.numpy() - reference).mean() < 12
    assert stored.stat().st_size < source.num_bytes


def test_going_on_needs_no_seeking(source: LoadSource, tmp_path: Path) -> None:
    stored = H264(key_interval=250, reader="pyav").store(source, tmp_path)
    straight, seeking = PyAvReader(stored), PyAvReader(stored)
    pieces = torch.cat([straight.read(first, 8) for first in (0, 8, 16)])
    seeking.read(60, 1)
    assert torch.equal(pieces, seeking.read(0, 24))


@pytest.mark.parametrize("through_workers", [False, True])
def test_raw_frames_are_exact(source: LoadSource, tmp_path: Path, through_workers: bool) -> None:
    method = RawFrames(uses_workers=through_workers)
    wanted = Wanted(
        firsts=[5, 9], clip_frames=8, batch_size=2, workers=0, device=torch.device("cpu")
    )
    (clips,) = method.batches(method.store(source, tmp_path), wanted)
    assert (clips[1].numpy() == source.frames()[9:17].transpose(0, 3, 1, 2)).all()


def test_every_method_gets_a_row(suite: Path, tmp_path: Path) -> None:
    table = tmp_path / "load.tsv"
    seen: list[LoadRow] = []
    rows = run_load(plan(suite), table=table, folder=tmp_path / "kept", on_row=seen.append)
    assert seen == rows
    by_name = {row.method: row for row in rows}
    assert set(by_name) == {method.name for method in all_methods(("debug",), 50)}
    for row in rows:
        if row.note:
            assert row.note == "not run: decord is not installed"
            continue
        assert (row.random_clips_per_second or 0) > 0
        assert (row.sequential_frames_per_second or 0) > 0
        assert row.stored_bytes
    assert by_name["ram"].psnr_db == math.inf
    assert 30 < (by_name["h264-gop12-pyav"].psnr_db or 0) < 60
    ours = by_name["nrv-debug"], by_name["nrv-debug-one-by-one"]
    assert ours[0].psnr_db == pytest.approx(ours[1].psnr_db, abs=0.05)
    assert 0 <= (ours[0].waiting_share or 0) < 1
    assert ours[1].waiting_share is None
    assert len(table.read_text().splitlines()) == len(rows) + 1
    plot_load(rows, tmp_path / "load.png")
    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_prepared_is_used_again(suite: Path, tmp_path: Path) -> None:
    wanted = plan(suite, methods=("ram", "h264-gop12-pyav"))
    run_load(wanted, table=tmp_path / "a.tsv", folder=tmp_path / "kept")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()}
    away = plan(tmp_path / "missing", methods=("ram", "h264-gop12-pyav"))
    rows = run_load(away, table=tmp_path / "b.tsv", folder=tmp_path / "kept")
    assert [row.method for row in rows] == ["h264-gop12-pyav", "ram", "ram-dataloader"]
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()}


def test_without_a_video_library_what_is_prepared_is_measured(suite: Path, tmp_path: Path) -> None:
    names = ("nrv-debug", "gop12-pyav")
    run_load(plan(suite, methods=names), table=tmp_path / "a.tsv", folder=tmp_path)
    program = f"""
import sys
sys.modules["av"] = None
from pathlib import Path
from hypernet.evaluation.load_benchmark import LoadPlan, run_load
plan = LoadPlan(presets=("debug",), workers=(0,), sizes=((32, 32),), num_frames={NUM_FRAMES},
                seconds=0.05, methods={names})
rows = run_load(plan, table=Path({str(tmp_path / "b.tsv")!r}), folder=Path({str(tmp_path)!r}))
print([(row.method, row.note, row.psnr_db is not None) for row in rows])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert ast.literal_eval(done.stdout) == [
        ("nrv-debug", "", True),
        ("nrv-debug-one-by-one", "", True),
        ("h264-gop12-pyav", "not run: av is not installed", False),
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one here")
def test_without_a_gpu_the_rows_say_so(suite: Path, tmp_path: Path) -> None:
    rows = run_load(plan(suite, profile="gpu"), table=tmp_path / "a.tsv", folder=tmp_path)
    assert {row.note for row in rows} == {"not run: no CUDA device"}
    assert {row.device for row in rows} == {"cuda"}
    with pytest.raises(InvalidSettings, match="nothing was measured"):
        plot_load(rows, tmp_path / "load.png")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"profile": "tpu"}, "unknown profile"),
        ({"methods": ("vhs",)}, "named like vhs"),
        ({"batch_size": 10}, "10 clips needs a video of at least 80 frames, not 72"),
    ],
)
def test_plans_that_make_no_sense_are_refused(
    suite: Path, tmp_path: Path, settings: dict[str, object], reason: str
) -> None:
    with pytest.raises(InvalidSettings, match=reason):
        run_load(plan(suite, **settings), table=tmp_path / "a.tsv", folder=tmp_path)


def test_random_clips_are_the_same_for_all() -> None:
    firsts = random_firsts(100)
    assert firsts == random_firsts(100)
    assert min(firsts) == 0
    assert max(firsts) == 92


@pytest.mark.parametrize(("workers", "size"), [(0, 8), (1, 8), (2, 8), (2, 4), (1, 32)])
def test_each_worker_reads_on(workers: int, size: int) -> None:
    firsts = sequential_firsts(256, workers, size, rounds=1)
    assert sorted(firsts) == list(range(0, 256, 8))
    batches = [firsts[n : n + size] for n in range(0, len(firsts), size)]
    for worker in range(max(1, workers)):
        of_worker = list(chain.from_iterable(batches[worker :: max(1, workers)]))
        assert list(np.diff(of_worker)) == [8] * (len(of_worker) - 1)


def test_a_soak_writes_a_curve(suite: Path, tmp_path: Path) -> None:
    rows = run_soak(
        plan(suite), seconds=0.3, table=tmp_path / "memory.tsv", folder=tmp_path / "kept"
    )
    assert rows[-1].seconds >= 0.3
    assert [row.clips for row in rows] == sorted({row.clips for row in rows})
    assert min(row.process_bytes for row in rows) > 10 * 2**20
    assert len((tmp_path / "memory.tsv").read_text().splitlines()) == len(rows) + 1


def test_growth_is_of_the_last_quarter_over_the_second() -> None:
    def row(megabytes: int) -> SoakRow:
        return SoakRow(
            seconds=1,
            clips=1,
            process_bytes=megabytes << 20,
            workers_bytes=0,
            open_files=1,
            device_bytes=0,
            commit="",
            cpu="",
            load_average=None,
        )

    rows = [row(size) for size in (10, 20, 100, 100, 105, 105, 110, 110)]
    assert growth(rows) == pytest.approx(0.1)
