from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from encoder_service.jobs.states import EncodingStatus
from hypernet.codec import encode_file
from hypernet.errors import Cancelled, InvalidSettings
from hypernet.plan import EncodeSettings
from hypernet.result import EncodeResult
from tests.clips import write_clip
from tests.factories import Service
from workers.codec import Supervision
from workers.hypernet_codec import HypernetCodec

SETTINGS = {"preset": "debug", "steps": 2, "seed": 3, "device": "cpu"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mkv"
    write_clip(path, num_frames=12)
    return path


def test_the_service_makes_the_same_stream_as_the_command(
    service: Service, clip: Path, tmp_path: Path
) -> None:
    with clip.open("rb") as body:
        service.locations.own.put("uploads/clip", body)
    submitted = service.jobs.submit(source="upload:clip", settings=SETTINGS)
    encoding = service.finish(submitted.id, codec=HypernetCodec())
    assert encoding.status is EncodingStatus.SUCCEEDED, encoding.error_message

    direct = asdict(encode_file(clip, tmp_path / "direct.nrv", EncodeSettings(**SETTINGS)))  # type: ignore[arg-type]
    assert service.stream(encoding) == (tmp_path / "direct.nrv").read_bytes()
    timed = {"encode_seconds", "decode_frames_per_second"}
    assert encoding.result is not None
    assert set(encoding.result) == set(EncodeResult.__slots__)
    for name in set(direct) - timed:
        assert encoding.result[name] == pytest.approx(direct[name]), name


def test_a_segment_can_be_stopped(clip: Path) -> None:
    codec = HypernetCodec()
    plan = codec.plan(clip, SETTINGS)
    stopping = Supervision(report=lambda _: None, should_stop=lambda: True)
    with pytest.raises(Cancelled):
        codec.encode_segment(clip, plan.plan, 0, SETTINGS, stopping)


def test_progress_is_reported(clip: Path) -> None:
    codec = HypernetCodec()
    plan = codec.plan(clip, SETTINGS)
    reported: list[float] = []
    watching = Supervision(report=reported.append, should_stop=lambda: False)
    codec.encode_segment(clip, plan.plan, 0, SETTINGS, watching)
    assert reported[-1] == 1.0
    assert reported == sorted(reported)


@pytest.mark.parametrize("settings", [{"preset": "nothing"}, {"preset": "debug", "colour": "red"}])
def test_settings_that_do_not_exist(clip: Path, settings: dict[str, object]) -> None:
    with pytest.raises(InvalidSettings):
        HypernetCodec().plan(clip, settings)
