from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from encoder_service.cli.main import main
from tests.clips import Sound, make_clip

NUM_FRAMES = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a command printed, and the status it left with."""

    status: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """The one object on stdout; nothing else may be there, nor anything on stderr."""
        fields: dict[str, Any] = json.loads(self.out)
        assert self.out.count("\n") == 1
        return fields


Command = Callable[..., Outcome]


@pytest.fixture
def nrv(capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """The ``nrv`` program, run in this process."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Outcome(status=ended.value.code, out=out, err=err)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="package")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short video with sound."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return make_clip(path, num_frames=NUM_FRAMES, size=(64, 48), audio=[Sound()])


@pytest.fixture(scope="package")
def stream(clip: Path) -> Path:
    """The same as a stream."""
    from hypernet.codec import encode_file
    from hypernet.plan import EncodeSettings

    output = clip.with_suffix(".nrv")
    encode_file(clip, output, EncodeSettings(preset="debug", steps=2, device="cpu"))
    return output
