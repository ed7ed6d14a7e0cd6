from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hypernet.codec import encode_file
from hypernet.decoding import open_stream
from hypernet.plan import EncodeSettings
from tests.clips import make_clip, moving

NUM_FRAMES = 20
SCENE_FRAMES = 9  # a cut, and so two segments


@pytest.fixture(scope="session")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three streams of 48x32 pixels, each of two segments, in a folder of folders."""
    folder = tmp_path_factory.mktemp("streams")
    for number, name in enumerate(["left/run.nrv", "left/walk.nrv", "right/run.nrv"]):
        (folder / name).parent.mkdir(exist_ok=True)
        scenes = moving(SCENE_FRAMES, (48, 32), scene=number)
        scenes += moving(NUM_FRAMES - SCENE_FRAMES, (48, 32), scene=number + 10)
        clip = make_clip(folder / "clip.mp4", frames=scenes)
        encode_file(clip, folder / name, EncodeSettings(preset="debug", steps=2, device="cpu"))
        clip.unlink()
    return folder


@pytest.fixture(scope="session")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One stream of 64x48 pixels."""
    folder = tmp_path_factory.mktemp("larger")
    clip = make_clip(folder / "clip.mp4", num_frames=6)
    output = folder / "larger.nrv"
    encode_file(clip, output, EncodeSettings(preset="debug", steps=2, device="cpu"))
    return output


@pytest.fixture(scope="session")
def decoded() -> Callable[[Path | str], NDArray[np.uint8]]:
    """All frames of a stream ``(N, 3, H, W)`` by the decoder that knows nothing of loading."""

    def frames(path: Path | str) -> NDArray[np.uint8]:
        with open_stream(Path(path)) as stream:
            pictures = np.stack([frame.rgb_HWC for frame in stream.frames()])
        return pictures.transpose(0, 3, 1, 2)

    return frames


def differ(one: torch.Tensor, other: NDArray[np.uint8]) -> int:
    """The largest difference of two pictures, in levels."""
    return int(np.abs(one.numpy().astype(int) - other.astype(int)).max())
