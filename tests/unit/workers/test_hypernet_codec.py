from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
import torch

from encoder_service.decode_files import name_of
from encoder_service.jobs.states import EncodingStatus
from encoder_service.settings import WorkerSettings
from encoder_service.storage.base import decode_file_key
from hypernet.codec import encode_file
from hypernet.errors import Cancelled, InvalidSettings
from hypernet.plan import EncodeSettings, Plan
from hypernet.result import EncodeResult
from tests.clips import write_clip
from tests.factories import Service
from tests.unit.workers.reading import hostile
from workers import hypernet_codec
from workers.codec import Supervision
from workers.decode_files import DecodeFiles
from workers.failures import OutOfMemory, to_failure
from workers.hypernet_codec import HypernetCodec
from workers.reading.process import ReadingProcess
from workers.reading.reader import SandboxedReader

WATCHED = Supervision(report=lambda _: None, should_stop=lambda: False)
SETTINGS = {"preset": "debug", "steps": 2, "seed": 3, "device": "cpu"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mkv"
    write_clip(path, num_frames=12)
    return path


@pytest.fixture(scope="module")
def reader() -> Iterator[SandboxedReader]:
    with SandboxedReader(WorkerSettings()) as reader:
        yield reader


@pytest.fixture
def decode_files(service: Service, tmp_path: Path) -> DecodeFiles:
    return DecodeFiles(service.locations.own, tmp_path / "models")


@pytest.fixture
def codec(reader: SandboxedReader, decode_files: DecodeFiles) -> HypernetCodec:
    return HypernetCodec(reader, decode_files)


def submit(service: Service, path: Path) -> str:
    with path.open("rb") as body:
        service.locations.own.put(f"uploads/{path.stem}", body)
    return service.jobs.submit(source=f"upload:{path.stem}", settings=SETTINGS).id


def test_the_service_makes_the_same_stream_as_the_command(
    service: Service, codec: HypernetCodec, clip: Path, tmp_path: Path
) -> None:
    encoding = service.finish(submit(service, clip), codec=codec)
    assert encoding.status is EncodingStatus.SUCCEEDED, encoding.error_message

    direct = asdict(encode_file(clip, tmp_path / "direct.nrv", EncodeSettings(**SETTINGS)))  # type: ignore[arg-type]
    assert service.stream(encoding) == (tmp_path / "direct.nrv").read_bytes()
    timed = {"encode_seconds", "decode_frames_per_second"}
    assert encoding.result is not None
    assert set(encoding.result) == set(EncodeResult.__slots__)
    for name in set(direct) - timed:
        assert encoding.result[name] == pytest.approx(direct[name]), name


def test_a_segment_can_be_stopped(codec: HypernetCodec, clip: Path) -> None:
    plan = codec.plan(clip, SETTINGS, WATCHED)
    stopping = Supervision(report=lambda _: None, should_stop=lambda: True)
    with pytest.raises(Cancelled):
        codec.encode_segment(clip, plan.plan, 0, SETTINGS, stopping)


def test_progress_is_reported(codec: HypernetCodec, clip: Path) -> None:
    plan = codec.plan(clip, SETTINGS, WATCHED)
    reported: list[float] = []
    watching = Supervision(report=reported.append, should_stop=lambda: False)
    codec.encode_segment(clip, plan.plan, 0, SETTINGS, watching)
    assert reported[-1] == 1.0
    assert reported == sorted(reported)


@pytest.mark.parametrize("settings", [{"preset": "nothing"}, {"preset": "debug", "colour": "red"}])
def test_settings_that_do_not_exist(
    codec: HypernetCodec, clip: Path, settings: dict[str, object]
) -> None:
    with pytest.raises(InvalidSettings):
        codec.plan(clip, settings, WATCHED)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (hostile.huge_picture, "video.unsupported"),
        (hostile.many_frames, "video.unsupported"),
        (hostile.playlist, "video.unsupported"),
        (hostile.external_reference, "video.unsupported"),
        (hostile.noise_in_a_container, "video.unreadable"),
    ],
)
def test_a_hostile_source_fails_and_the_worker_lives(
    service: Service, codec: HypernetCodec, clip: Path, make: Callable[[Path], Path], code: str
) -> None:
    bad = make(clip.with_name(f"{make.__name__}.mp4"))
    failed = service.finish(submit(service, bad), codec=codec)
    assert (failed.status, failed.error_code) == (EncodingStatus.FAILED, code)
    assert str(failed.error_message).startswith("plan: the source ")
    assert len(service.queries.attempts(service.jobs.owner_id, failed.id)) == 1
    encoding = service.finish(submit(service, clip), codec=codec)
    assert encoding.status is EncodingStatus.SUCCEEDED


def test_a_reader_that_is_lost_is_tried_again(
    service: Service, decode_files: DecodeFiles, clip: Path
) -> None:
    with Losing(WorkerSettings(), losses=2) as reader:
        encoding = service.finish(submit(service, clip), codec=HypernetCodec(reader, decode_files))
        assert encoding.status is EncodingStatus.SUCCEEDED
    with Losing(WorkerSettings(), losses=9) as reader:
        encoding = service.finish(submit(service, clip), codec=HypernetCodec(reader, decode_files))
        assert (encoding.status, encoding.error_code) == (
            EncodingStatus.FAILED,
            "video.reader_lost",
        )


class Losing(SandboxedReader):
    """Its children are killed before they can answer."""

    def __init__(self, settings: WorkerSettings, *, losses: int) -> None:
        super().__init__(settings)
        self.losses = losses

    def _take_process(self) -> ReadingProcess:
        process = super()._take_process()
        if self.losses:
            self.losses -= 1
            psutil.Process(process.pid).kill()
        return process


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError("[enforce fail at x.cpp:1] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_want_of_memory_has_a_name(
    codec: HypernetCodec, clip: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    plan = codec.plan(clip, SETTINGS, WATCHED)
    monkeypatch.setattr(hypernet_codec, "encode_frames", fail)
    with pytest.raises(OutOfMemory) as caught:
        codec.encode_segment(clip, plan.plan, 0, SETTINGS, WATCHED)
    assert to_failure(caught.value).too_much


def test_other_errors_keep_their_names(
    codec: HypernetCodec, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    plan = codec.plan(clip, SETTINGS, WATCHED)
    monkeypatch.setattr(hypernet_codec, "encode_frames", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        codec.encode_segment(clip, plan.plan, 0, SETTINGS, WATCHED)


def test_what_a_predicted_stream_needs_is_published(
    service: Service, codec: HypernetCodec, clip: Path
) -> None:
    plan = Plan.from_json(codec.plan(clip, {"preset": "fast", "device": "cpu"}, WATCHED).plan)
    assert plan.decode_file is not None
    published = service.locations.own.read(decode_file_key(name_of(plan.decode_file)))
    assert hashlib.sha256(published).hexdigest() == plan.decode_file
