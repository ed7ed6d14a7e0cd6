from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, DistributedSampler

from hypernet.bitstream.container import PREAMBLE_BYTES
from hypernet.errors import InvalidSettings, InvalidStream, MissingDecodeFile, UnreadableInput
from hypernet.loader import Crop, NrvClips, NrvDataset
from tests.unit.hypernet.loading.conftest import NUM_FRAMES, SCENE_FRAMES, differ

Decoded = Callable[[Path | str], NDArray[np.uint8]]


def damaged_copy(stream: Path, to: Path) -> Path:
    """A copy with one bit of its last segment changed."""
    data = bytearray(stream.read_bytes())
    data[-1] ^= 1
    to.write_bytes(data)
    return to


def test_clips_are_the_frames_of_their_streams(streams: Path, decoded: Decoded) -> None:
    dataset = NrvDataset(streams, frames=4, clips=5)
    assert len(dataset) == 15
    starts = set()
    for sample in (dataset[number] for number in range(len(dataset))):
        expected = decoded(dataset.names[sample.stream])
        assert sample.frames.shape == (4, 3, 32, 48)
        assert sample.frames.dtype == torch.uint8
        window = expected[sample.first_frame : sample.first_frame + 4]
        assert differ(sample.frames, window) <= 1
        starts.add((sample.stream, sample.first_frame))
    assert len(starts) > 8  # they are random


def test_a_clip_may_cross_segments_and_leave_frames_out(streams: Path, decoded: Decoded) -> None:
    dataset = NrvDataset(streams, frames=4, stride=3, clips=[(1, SCENE_FRAMES - 4)])
    sample = dataset[0]
    window = decoded(dataset.names[1])[SCENE_FRAMES - 4 : SCENE_FRAMES + 8 : 3]
    assert differ(sample.frames, window) <= 1


def test_clips_decoded_together_are_those_decoded_alone(streams: Path) -> None:
    dataset = NrvDataset(streams, frames=5, clips=4)
    together = dataset.__getitems__([3, 0, 11, 3])
    for number, sample in zip([3, 0, 11, 3], together, strict=True):
        alone = dataset[number]
        assert sample[1:] == alone[1:]
        assert differ(sample.frames, alone.frames.numpy()) <= 1


def test_all_clips_one_after_the_other(streams: Path, larger: Path) -> None:
    paths = [*sorted(streams.rglob("*.nrv")), larger]
    dataset = NrvDataset(paths, frames=7, clips="all")
    places = [dataset[number][2:] for number in range(len(dataset))]
    assert places == [(0, 0), (0, 7), (1, 0), (1, 7), (2, 0), (2, 7), (3, 0)]


def test_a_short_stream_repeats_its_last_frame(larger: Path, decoded: Decoded) -> None:
    sample = NrvDataset(larger, frames=8)[0]
    assert sample.first_frame == 0
    expected = decoded(larger)
    assert differ(sample.frames, expected[[0, 1, 2, 3, 4, 5, 5, 5]]) <= 1


def test_seed_and_epoch_fix_the_clips(streams: Path) -> None:
    def firsts(dataset: NrvDataset) -> list[int]:
        return [dataset[number].first_frame for number in range(len(dataset))]

    one, same, other = (NrvDataset(streams, clips=6, seed=seed) for seed in (1, 1, 2))
    assert firsts(one) == firsts(same) != firsts(other)
    before = firsts(one)
    one.set_epoch(1)
    assert firsts(one) != before
    one.set_epoch(0)
    assert firsts(one) == before


def test_crop_size_and_type(streams: Path, decoded: Decoded) -> None:
    crop = Crop(top=3, left=5, height=20, width=30)
    dataset = NrvDataset(streams, frames=2, crop=crop, clips=[(0, 1)])
    whole = decoded(dataset.names[0])[1:3]
    assert differ(dataset[0].frames, whole[..., 3:23, 5:35]) <= 1
    small = NrvDataset(streams, frames=2, crop=crop, size=(10, 15), dtype=torch.float32)[0].frames
    assert small.shape == (2, 3, 10, 15)
    assert small.dtype == torch.float32
    assert 0 <= float(small.min()) < float(small.max()) <= 1


def test_arithmetic_of_less_precision_is_close(streams: Path) -> None:
    exact = NrvDataset(streams, frames=4, clips=[(0, 7)])[0].frames
    quick = NrvDataset(streams, frames=4, clips=[(0, 7)], arithmetic=torch.bfloat16)[0].frames
    assert differ(quick, exact.numpy()) <= 8


def test_a_crop_outside_of_a_stream_is_refused(streams: Path) -> None:
    dataset = NrvDataset(streams, crop=Crop(top=0, left=20, height=32, width=32))
    with pytest.raises(InvalidSettings, match=r"run\.nrv has frames of 48x32.*32x32 at \(20, 0\)"):
        dataset[0]


def test_frames_can_be_trained_on(streams: Path) -> None:
    frames = NrvDataset(streams, frames=2, dtype=torch.float32)[0].frames
    weight = torch.ones(1, requires_grad=True)
    (frames * weight).sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert weight.grad.item() == pytest.approx(float(frames.sum()), rel=1e-4)
    frames.add_(1)


@pytest.mark.parametrize("start_method", ["spawn", "fork"])
def test_under_a_plain_data_loader(streams: Path, start_method: str) -> None:
    dataset = NrvDataset(streams, frames=3, clips=2)
    loader = DataLoader(
        dataset,
        batch_size=2,
        num_workers=1,
        multiprocessing_context=start_method,
        persistent_workers=True,
    )
    for epoch in range(2):
        dataset.set_epoch(epoch)
        batches = list(loader)
        assert [batch.frames.shape for batch in batches] == [(2, 3, 3, 32, 48)] * 3
        firsts = torch.cat([batch.first_frame for batch in batches]).tolist()
        assert firsts == [dataset[number].first_frame for number in range(6)]


def test_with_the_distributed_sampler_of_torch(streams: Path) -> None:
    dataset = NrvDataset(streams, frames=1)
    seen = []
    for rank in range(3):
        sampler: DistributedSampler[int] = DistributedSampler(
            dataset, num_replicas=3, rank=rank, shuffle=True, seed=4
        )
        seen += [int(batch.stream) for batch in DataLoader(dataset, sampler=sampler)]
    assert sorted(seen) == [0, 1, 2]


def test_the_iterable_form_shares_clips_among_ranks_and_workers(streams: Path) -> None:
    dataset = NrvDataset(streams, frames=1, clips=4)
    seen = []
    for rank in range(2):
        clips = NrvClips(dataset, rank=rank, world_size=2, chunk=2)
        loader = DataLoader(clips, num_workers=2, batch_size=None, multiprocessing_context="fork")
        seen += [(sample.stream, sample.first_frame) for sample in loader]
    expected = [dataset[number][2:] for number in range(12)]
    assert sorted(seen) == sorted(expected)


def test_a_damaged_stream_is_raised_by_name(streams: Path, tmp_path: Path) -> None:
    path = damaged_copy(streams / "left/run.nrv", tmp_path / "bad.nrv")
    dataset = NrvDataset([streams / "left/walk.nrv", path], clips=[(0, 0), (1, 12)])
    assert dataset[0].stream == 0
    with pytest.raises(InvalidStream, match=r"bad\.nrv.*checksum"):
        dataset[1]


def test_a_damaged_stream_is_skipped_counted_and_named(
    streams: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    empty = tmp_path / "empty.nrv"
    empty.write_bytes(b"")
    bad = damaged_copy(streams / "left/run.nrv", tmp_path / "bad.nrv")
    places = [(0, 12), (1, 0), (2, 4), (0, 12)]
    dataset = NrvDataset([bad, empty, streams / "left/walk.nrv"], clips=places, damaged="skip")
    with caplog.at_level(logging.WARNING):
        samples = dataset.__getitems__([0, 1, 2, 3])
    assert [sample.stream for sample in samples] == [2, 2, 2, 2]
    assert set(dataset.damaged_streams) == {str(bad), str(empty)}
    assert "not an .nrv stream" in dataset.damaged_streams[str(empty)]
    assert caplog.text.count("skipped") == 2


def test_a_set_of_damaged_streams_only_is_an_error(tmp_path: Path) -> None:
    for name in ("a.nrv", "b.nrv"):
        (tmp_path / name).write_bytes(b"not a stream at all, but long enough")
    with pytest.raises(InvalidStream, match=r"all 2 streams are damaged.*a\.nrv|b\.nrv"):
        NrvDataset(tmp_path, damaged="skip")[0]
    everything = NrvDataset(tmp_path, clips="all", damaged="skip")
    with pytest.raises(InvalidStream, match="all 2 streams are damaged"):
        everything[0]


def test_a_missing_decode_file_is_raised_even_where_damage_is_skipped(
    streams: Path, tmp_path: Path
) -> None:
    golden = Path(__file__).parents[3] / "golden/codec-fast.nrv"
    data = bytearray(golden.read_bytes())
    digest = next(iter(_decode_file_of(golden)))
    position = data.index(digest, PREAMBLE_BYTES)
    data[position] ^= 255
    path = tmp_path / "orphan.nrv"
    path.write_bytes(_with_header_checksum(bytes(data)))
    dataset = NrvDataset([streams / "left/run.nrv", path], damaged="skip")
    with pytest.raises(MissingDecodeFile, match=r"orphan\.nrv.*decode file"):
        dataset[1]


def _decode_file_of(path: Path) -> list[bytes]:
    from hypernet.bitstream.reader import StreamReader
    from hypernet.bitstream.sources import BytesSource

    return [StreamReader(BytesSource(path.read_bytes())).header.decode_file]


def _with_header_checksum(data: bytes) -> bytes:
    import zlib

    from hypernet.bitstream.container import unpack_preamble
    from hypernet.bitstream.limits import DEFAULT_LIMITS

    length = unpack_preamble(
        data[:PREAMBLE_BYTES], present=len(data), limits=DEFAULT_LIMITS
    ).header_length
    end = PREAMBLE_BYTES + length
    checksum = zlib.crc32(data[PREAMBLE_BYTES:end]).to_bytes(4, "little")
    return data[:end] + checksum + data[end + 4 :]


def test_a_file_that_vanishes_is_named(streams: Path, tmp_path: Path) -> None:
    path = tmp_path / "gone.nrv"
    path.write_bytes((streams / "left/run.nrv").read_bytes())
    dataset = NrvDataset(tmp_path, damaged="skip")
    path.unlink()
    with pytest.raises(UnreadableInput, match=r"gone\.nrv"):
        dataset[0]


def test_few_streams_are_open_at_a_time(streams: Path, tmp_path: Path) -> None:
    source = streams / "left/run.nrv"
    paths = [tmp_path / f"{number}.nrv" for number in range(12)]
    for path in paths:
        path.symlink_to(source)
    dataset = NrvDataset(tmp_path, frames=1, max_open=3)
    before = _open_files(source)
    dataset.__getitems__(range(len(dataset)))
    assert len(dataset) == 12
    assert _open_files(source) - before == 3


def _open_files(path: Path) -> int:
    return sum(1 for each in Path("/proc/self/fd").iterdir() if each.resolve() == path.resolve())


def test_ten_thousand_streams_are_not_opened_before_they_are_asked_for(tmp_path: Path) -> None:
    dataset = NrvDataset([tmp_path / f"{number}.nrv" for number in range(10_000)], clips=3)
    assert len(dataset) == 30_000
    assert len(pickle.dumps(dataset.names)) < 2**20


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"frames": 0}, "0 frames"),
        ({"stride": 0}, "stride 0"),
        ({"dtype": torch.float16}, "float16"),
        ({"damaged": "ignore"}, "ignore"),
        ({"seed": -1}, "seed -1"),
        ({"clips": 0}, "0 clips"),
        ({"clips": [(3, 0)]}, "streams 0 to 2"),
        ({"clips": []}, "at least one"),
        ({"cache": "unused", "cache_bytes": -1}, "-1 bytes"),
    ],
)
def test_settings_out_of_range_are_refused(
    streams: Path, settings: dict[str, object], reason: str
) -> None:
    with pytest.raises(InvalidSettings, match=reason):
        NrvDataset(streams, **settings)  # type: ignore[arg-type]


def test_there_is_no_clip_past_the_end(streams: Path) -> None:
    dataset = NrvDataset(streams, frames=1)
    with pytest.raises(IndexError):
        dataset[3]
    assert max(sample.first_frame for sample in dataset) < NUM_FRAMES  # type: ignore[attr-defined]
