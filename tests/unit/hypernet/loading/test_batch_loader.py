from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hypernet.errors import InvalidSettings, InvalidStream
from hypernet.loader import Batch, NrvDataset, NrvLoader


def places(batches: list[Batch]) -> list[tuple[int, int]]:
    """Stream and first frame of every clip of some batches."""
    return [
        pair
        for batch in batches
        for pair in zip(batch.stream.tolist(), batch.first_frame.tolist(), strict=True)
    ]


def test_batches_of_an_epoch(streams: Path) -> None:
    dataset = NrvDataset(streams, frames=3, clips=3, labels=lambda name: Path(name).stem)
    loader = NrvLoader(dataset, batch_size=4)
    batches = list(loader)
    assert [batch.frames.shape[0] for batch in batches if torch.is_tensor(batch.frames)] == [
        4,
        4,
        1,
    ]
    assert len(loader) == 3
    assert dataset.classes == ("run", "walk")
    labels = torch.cat([batch.label for batch in batches])
    of_stream = torch.tensor([0, 1, 0])
    assert torch.equal(labels, of_stream[torch.cat([batch.stream for batch in batches])])
    assert len(list(NrvLoader(dataset, batch_size=4, drop_last=True))) == 2


@pytest.mark.parametrize("render", [True, False])
def test_workers_change_nothing(streams: Path, render: bool) -> None:
    dataset = NrvDataset(streams, frames=3, clips=3)
    alone = NrvLoader(dataset, batch_size=4)
    helped = NrvLoader(dataset, batch_size=4, workers=2, workers_render=render, start_method="fork")
    for _ in range(2):
        one, other = list(alone), list(helped)
        assert places(one) == places(other)
        for a, b in zip(one, other, strict=True):
            assert isinstance(a.frames, torch.Tensor)
            assert isinstance(b.frames, torch.Tensor)
            assert int((a.frames.int() - b.frames.int()).abs().max()) <= 1


def test_every_epoch_has_another_order_and_other_clips(streams: Path) -> None:
    loader = NrvLoader(NrvDataset(streams, frames=2, clips=4), batch_size=4)
    first, second = places(list(loader)), places(list(loader))
    assert first != second
    assert sorted(first) != sorted(second)
    loader.set_epoch(0)
    assert places(list(loader)) == first


def test_in_order_if_not_shuffled(streams: Path) -> None:
    dataset = NrvDataset(streams, frames=10, clips="all")
    loader = NrvLoader(dataset, batch_size=4, shuffle=False)
    assert places(list(loader)) == [(0, 0), (0, 10), (1, 0), (1, 10), (2, 0), (2, 10)]


def test_goes_on_in_mid_epoch(streams: Path) -> None:
    def loader() -> NrvLoader:
        return NrvLoader(NrvDataset(streams, frames=2, clips=4), batch_size=2)

    whole = loader()
    expected = places([*whole, *whole])
    stopped, taken = loader(), []
    list(stopped)  # the first epoch
    for number, batch in enumerate(stopped):
        taken.append(batch)
        if number == 2:
            break
    state = stopped.state_dict()
    assert state["batches"] == 3
    resumed = loader()
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    rest = list(resumed)
    assert places(taken + rest) == expected[12:]
    assert resumed.state_dict()["epoch"] == 2


def test_left_early_it_begins_again(streams: Path) -> None:
    loader = NrvLoader(NrvDataset(streams, frames=2, clips=4), batch_size=2, workers=1)
    first = next(iter(loader))
    again = list(loader)
    assert places([first]) == places(again)[:2]
    assert len(again) == 6


def test_a_state_of_another_loader_is_refused(streams: Path) -> None:
    state = NrvLoader(NrvDataset(streams, clips=4), batch_size=2).state_dict()
    for other in (
        NrvLoader(NrvDataset(streams, clips=4), batch_size=3),
        NrvLoader(NrvDataset(streams, clips=4, seed=1), batch_size=2),
        NrvLoader(NrvDataset(streams, clips=5), batch_size=2),
        NrvLoader(NrvDataset(streams, clips=4), batch_size=2, shuffle=False),
        NrvLoader(NrvDataset(streams, clips=4), batch_size=2, world_size=2),
    ):
        with pytest.raises(InvalidSettings, match="another"):
            other.load_state_dict(state)


def test_ranks_share_the_clips(streams: Path) -> None:
    dataset = NrvDataset(streams, frames=1, clips=5)
    ranks = [
        places(list(NrvLoader(dataset, batch_size=4, rank=rank, world_size=2))) for rank in (0, 1)
    ]
    assert len(ranks[0]) == len(ranks[1]) == 8  # fifteen clips, one of them twice
    expected = [dataset[number][2:] for number in range(15)]
    assert set(ranks[0] + ranks[1]) == set(expected)


def test_mixed_sizes_name_the_two_streams(streams: Path, larger: Path) -> None:
    paths = [streams / "left/run.nrv", larger]
    with pytest.raises(
        InvalidSettings, match=r"run\.nrv \(48x32\) and .*larger\.nrv \(64x48\).*size="
    ):
        list(NrvLoader(NrvDataset(paths, frames=2), batch_size=2, shuffle=False))
    sized = NrvDataset(paths, frames=2, size=(16, 24))
    (batch,) = NrvLoader(sized, batch_size=2)
    assert isinstance(batch.frames, torch.Tensor)
    assert batch.frames.shape == (2, 2, 3, 16, 24)
    lists = NrvLoader(NrvDataset(paths, frames=2), batch_size=2, shuffle=False, as_lists=True)
    (batch,) = lists
    assert [frames.shape[-2:] for frames in batch.frames] == [(32, 48), (48, 64)]


def test_what_workers_skip_is_known_here(streams: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.nrv"
    bad.write_bytes(b"damaged" * 20)
    paths = [bad, *sorted(streams.rglob("*.nrv"))]
    dataset = NrvDataset(paths, frames=2, damaged="skip")
    loader = NrvLoader(dataset, batch_size=2, workers=1, start_method="fork")
    assert len(list(loader)) == 2
    assert [Path(name).name for name in loader.damaged_streams] == ["bad.nrv"]
    strict = NrvLoader(NrvDataset(paths), batch_size=2, workers=1, start_method="fork")
    with pytest.raises(InvalidStream, match=r"bad\.nrv"):
        list(strict)


def test_waiting_is_counted(streams: Path) -> None:
    loader = NrvLoader(NrvDataset(streams, frames=2, clips=4), batch_size=2)
    list(loader)
    assert loader.waiting.items == 6
    assert 0 < loader.waiting.seconds <= loader.waiting.total_seconds
    assert 0 < loader.waiting.share <= 1


@pytest.mark.parametrize(
    "settings",
    [{"batch_size": 0}, {"batch_size": 1, "workers": -1}, {"batch_size": 1, "rank": 1}],
)
def test_settings_out_of_range_are_refused(streams: Path, settings: dict[str, int]) -> None:
    with pytest.raises(InvalidSettings):
        NrvLoader(NrvDataset(streams), **settings)  # type: ignore[arg-type]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one here")
def test_a_missing_device_is_refused(streams: Path) -> None:
    with pytest.raises(InvalidSettings, match="no CUDA device"):
        NrvLoader(NrvDataset(streams), batch_size=1, device="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_on_a_gpu(streams: Path, workers: int) -> None:
    dataset = NrvDataset(streams, frames=3, clips=3)
    there = NrvLoader(dataset, batch_size=4, device="cuda", workers=workers)
    for _ in range(2):
        for a, b in zip(NrvLoader(dataset, batch_size=4), there, strict=True):
            assert isinstance(a.frames, torch.Tensor)
            assert isinstance(b.frames, torch.Tensor)
            assert b.frames.is_cuda
            assert int((a.frames.int() - b.frames.cpu().int()).abs().max()) <= 1
        there.set_epoch(0)
