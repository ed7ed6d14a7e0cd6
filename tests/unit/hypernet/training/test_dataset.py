from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from hypernet.errors import UnreadableInput
from hypernet.training.dataset import PairSampler, Prefetcher, Sampling
from hypernet.training.frame_cache import FrameCache, build_cache
from tests.unit.hypernet.training.samples import make_sources

SQUARE = Sampling(height=64, width=64)


@pytest.fixture(name="cache", scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> FrameCache:
    folder = tmp_path_factory.mktemp("dataset")
    return build_cache(
        make_sources(folder), folder / "cache", max_frames=20, min_side=64, min_frames=16
    )


def test_usable_sources_are_cached_and_others_named(cache: FrameCache) -> None:
    assert [(c.source, c.frames, c.height, c.width) for c in cache.clips] == [
        ("aa_one.mp4", 20, 64, 96),
        ("bb_two.mkv", 16, 80, 64),
        ("still.png", 1, 90, 100),
    ]
    assert [c.prefix for c in cache.clips] == ["aa", "bb", "stills"]
    skipped = dict(cache.skipped)
    assert set(skipped) == {"bb_short.mp4", "bb_small.mp4", "cc_text.mp4", "cc_empty.mp4"}
    assert "5 frames" in skipped["bb_short.mp4"]
    assert "48x32" in skipped["bb_small.mp4"]
    assert "cannot be read" in skipped["cc_text.mp4"]


def test_cached_frames_are_those_of_the_source(cache: FrameCache) -> None:
    frames = cache.frames(cache.clips[0])
    assert frames.shape == (20, 64, 96, 3)
    assert np.abs(frames[0].astype(int) - frames[19].astype(int)).mean() > 1


def test_a_folder_without_a_usable_clip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_text("no")
    with pytest.raises(UnreadableInput, match="1 were skipped"):
        build_cache(tmp_path, tmp_path / "cache", max_frames=8, min_side=1, min_frames=1)


def test_frames_of_a_changed_source_replace_the_old_ones(tmp_path: Path) -> None:
    folder, held = make_sources(tmp_path), tmp_path / "cache"

    def build() -> set[Path]:
        build_cache(folder, held, max_frames=20, min_side=64, min_frames=16)
        return set(held.iterdir())

    before = build()
    assert build() == before
    source = next(folder.glob("aa*"))
    os.utime(source, ns=(0, source.stat().st_mtime_ns + 1_000_000))
    after = build()
    assert len(after) == len(before)
    assert len(after - before) == 1


def test_batches_depend_on_seed_and_step_only(cache: FrameCache) -> None:
    one = PairSampler(cache, sampling=SQUARE, pairs=3, seed=5)
    two = PairSampler(cache, sampling=SQUARE, pairs=3, seed=5)
    one.batch(0)
    other = PairSampler(cache, sampling=SQUARE, pairs=3, seed=6)
    assert torch.equal(one.batch(7).frames, two.batch(7).frames)
    assert torch.equal(one.batch(7).offset, two.batch(7).offset)
    assert not torch.equal(one.batch(7).frames, one.batch(8).frames)
    assert not torch.equal(one.batch(7).frames, other.batch(7).frames)


def test_batches_hold_pairs_of_whole_clips(cache: FrameCache) -> None:
    batch = PairSampler(cache, sampling=SQUARE, pairs=4, seed=0).batch(0)
    assert batch.frames.shape == (4, 2, 8, 3, 64, 64)
    assert batch.frames.dtype == torch.uint8
    assert set((batch.offset.abs() - 4.5).tolist()) <= {0.0, 4.0, 8.0, 16.0}


def test_whole_frames_are_resized_whatever_their_aspect(cache: FrameCache) -> None:
    sampling = Sampling(height=32, width=64, whole_frame=True, distances=(1,))
    batch = PairSampler(cache, sampling=sampling, pairs=4, seed=0).batch(0)
    assert batch.frames.shape == (4, 2, 8, 3, 32, 64)
    assert set(batch.offset.abs().tolist()) <= {0.5, 4.5}
    assert (batch.frames[:, 0, 0].float().flatten(1).std(1) > 5).all()


def test_a_still_becomes_a_moving_clip(cache: FrameCache) -> None:
    still = FrameCache(folder=cache.folder, clips=cache.clips[2:], skipped=())
    sampler = PairSampler(still, sampling=SQUARE, pairs=1, seed=0)
    moved = [
        float((b.frames[0, 0, 0].float() - b.frames[0, 1, 7].float()).abs().mean())
        for b in map(sampler.batch, range(8))
    ]
    assert max(moved) > 1


def test_rare_prefixes_are_drawn_more_than_their_share(tmp_path: Path, cache: FrameCache) -> None:
    many = FrameCache(
        folder=cache.folder, clips=(cache.clips[0],) * 9 + (cache.clips[1],), skipped=()
    )
    sampler = PairSampler(many, sampling=SQUARE, pairs=1, seed=0)
    widths = [sampler._weights[:9].sum(), sampler._weights[9]]
    assert widths == pytest.approx([0.75, 0.25])
    assert tmp_path.exists()


def test_the_prefetcher_yields_every_step_in_order(cache: FrameCache) -> None:
    sampler = PairSampler(cache, sampling=SQUARE, pairs=1, seed=2)
    prefetcher = Prefetcher(sampler, range(3, 8))
    batches = list(prefetcher)
    prefetcher.close()
    assert len(batches) == 5
    assert all(torch.equal(b.frames, sampler.batch(3 + i).frames) for i, b in enumerate(batches))
    assert prefetcher.waited_seconds > 0


def test_the_prefetcher_stops_early_and_passes_errors_on(cache: FrameCache) -> None:
    prefetcher = Prefetcher(PairSampler(cache, sampling=SQUARE, pairs=1, seed=2), range(1000))
    next(iter(prefetcher))
    prefetcher.close()
    too_large = PairSampler(cache, sampling=SQUARE, pairs=1, seed=2)
    too_large._pairs = -1
    failing = Prefetcher(too_large, range(2))
    with pytest.raises(ValueError, match="negative"):
        next(iter(failing))
    failing.close()
