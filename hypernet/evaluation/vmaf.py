"""VMAF by the FFmpeg program that imageio-ffmpeg carries (the extra ``quality``)."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from hypernet.errors import HypernetError

_LOG = "vmaf.json"


def available() -> bool:
    """Whether the extra ``quality`` is installed."""
    return importlib.util.find_spec("imageio_ffmpeg") is not None


class VmafScorer:
    """Scores pairs of frames as they come, in constant memory; a context manager.

    Both videos travel through one pipe, the reference stacked on the other, so that neither can get
    ahead. The model is libvmaf's default (``vmaf_v0.6.1``), which reads luma only; FFmpeg converts
    RGB to BT.601 limited range for it.

    Raises:
        HypernetError: the FFmpeg program stopped, or wrote no score.
    """

    def __init__(self, height: int, width: int) -> None:
        self._size = (height, width)

    def __enter__(self) -> VmafScorer:
        import imageio_ffmpeg  # noqa: PLC0415 -- an optional extra

        self._folder = TemporaryDirectory(prefix="nrv-vmaf-")
        self._process = subprocess.Popen(  # noqa: S603 -- fixed program, numbers only
            _command(imageio_ffmpeg.get_ffmpeg_exe(), *self._size),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._folder.name,
        )
        return self

    def add(self, reference_HWC: NDArray[np.uint8], decoded_HWC: NDArray[np.uint8]) -> None:
        """Send one pair of 8-bit RGB frames."""
        try:
            self._input.write(reference_HWC.tobytes())
            self._input.write(decoded_HWC.tobytes())
        except OSError as error:
            raise HypernetError("FFmpeg stopped while it was measuring VMAF") from error

    def score(self) -> float:
        """Mean VMAF over the frames sent, 0 to 100; no frame can be added afterwards."""
        try:
            self._input.close()
            self._process.wait()
            log = json.loads((Path(self._folder.name) / _LOG).read_text())
            return float(log["pooled_metrics"]["vmaf"]["mean"])
        except (OSError, ValueError, KeyError) as error:
            raise HypernetError("FFmpeg wrote no VMAF score; compare without VMAF") from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        with contextlib.suppress(OSError):
            self._input.close()
        self._process.wait()
        self._folder.cleanup()

    @property
    def _input(self) -> IO[bytes]:
        return cast("IO[bytes]", self._process.stdin)


def _command(ffmpeg: str, height: int, width: int) -> list[str]:
    crop = f"crop={width}:{height}:0"
    graph = (
        f"format=gbrp,split[a][b];[a]{crop}:0,format=yuv444p[reference];"
        f"[b]{crop}:{height},format=yuv444p[other];"
        f"[other][reference]libvmaf=log_fmt=json:log_path={_LOG}:n_threads=2"
    )
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{2 * height}", "-i", "-"]
    return [ffmpeg, "-v", "error", *raw, "-filter_complex", graph, "-f", "null", "-"]
