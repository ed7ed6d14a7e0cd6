"""``nrv doctor``: does everything that encoding needs work on this machine?"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
import typer

from encoder_service.cli.report import print_fields
from hypernet.codec import encode_file
from hypernet.decoding import open_stream
from hypernet.errors import HypernetError
from hypernet.native import library
from hypernet.plan import EncodeSettings
from hypernet.predictor.files import installed_predictors
from hypernet.presets import PRESETS
from hypernet.video.probe import VideoInfo
from hypernet.video.reader import Frame
from hypernet.video.writer import write_video

WIDTH, HEIGHT, FRAMES = 64, 48, 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that was looked at; ``detail`` says what was found, or what to do."""

    name: str
    passed: bool
    detail: str


def check() -> list[Check]:
    """Look at everything; nothing raises."""
    return [
        _checked("python", platform.python_version),
        _checked("torch", lambda: f"{torch.__version__}, {torch.get_num_threads()} threads"),
        _checked("device", _device),
        _checked("C kernels", _kernels),
        _checked("video encoders", _encoders),
        _checked("presets", lambda: ", ".join(PRESETS)),
        _checked("models", _models),
        _checked("encode and decode", _round_trip),
    ]


def print_checkup(checks: list[Check], *, as_json: bool) -> None:
    """One line per check, or one JSON object."""
    if as_json:
        print_fields({"checks": [asdict(item) for item in checks]}, as_json=True)
        return
    for item in checks:
        typer.echo(f"{'ok  ' if item.passed else 'FAIL'} {item.name}: {item.detail}")


def _checked(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name=name, passed=True, detail=look())
    except (HypernetError, OSError, RuntimeError, ValueError) as error:
        return Check(name=name, passed=False, detail=str(error))


def _device() -> str:
    if not torch.cuda.is_available():
        return f"cpu ({torch.backends.cpu.get_cpu_capability()}), no CUDA device"
    return f"cuda ({torch.cuda.get_device_name()})"


def _kernels() -> str:
    """They are not needed, but worth having."""
    if library.kernels() is None:
        return "not built, so torch does their work several times slower: install gcc, then nrv"
    return "built"


def _models() -> str:
    """Every predictor that is installed, with the decode file that its streams name."""
    found = installed_predictors()
    for model in found:
        model.decode_file()
    return ", ".join(f"{m.name} (decode file {m.decode_sha256[:16]})" for m in found) or "none"


def _encoders() -> str:
    wanted = ("libx264", "libx265", "libsvtav1", "ffv1")
    missing = [name for name in wanted if name not in av.codecs_available]
    if missing:
        raise RuntimeError(f"this PyAV lacks {', '.join(missing)}; install PyAV from its wheel")
    return ", ".join(wanted)


def _round_trip() -> str:
    with tempfile.TemporaryDirectory(prefix="nrv-doctor-") as folder:
        source, stream_path = Path(folder, "source.mkv"), Path(folder, "stream.nrv")
        ramp = np.linspace(0, 255, WIDTH, dtype=np.uint8)
        picture = np.broadcast_to(ramp[None, :, None], (HEIGHT, WIDTH, 3))
        info = VideoInfo(
            width=WIDTH, height=HEIGHT, time_base=Fraction(1, 25), frame_rate=Fraction(25)
        )
        write_video(source, [Frame(pts=n, rgb_HWC=picture) for n in range(FRAMES)], info)
        settings = EncodeSettings(preset="debug", steps=2, device="cpu")
        result = encode_file(source, stream_path, settings)
        with open_stream(stream_path) as stream:
            decoded = sum(1 for _ in stream.frames())
    if decoded != FRAMES:
        raise RuntimeError(f"{decoded} of {FRAMES} frames came back")
    return f"{FRAMES} frames in {result.stream_bytes} bytes and back"
