"""A trained predictor, loaded and ready: frames in, integer symbols out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hypernet.decoders.decode_file import DecodeFile, load_decode_file
from hypernet.decoders.tubelet import CLIP_FRAMES, GRID_CELL
from hypernet.errors import InvalidSettings, UnreadableInput
from hypernet.predictor.transformer import TransformerConfig
from hypernet.predictor.weight_predictor import (
    ModelConfig,
    WeightPredictor,
    channels_last,
)

FORMAT = "tubelet-predictor-1"
MAX_BYTES = 16 << 20
SEGMENT_REFERENCES = (None, 0, 1, 0, 3, 3, 0, 6)
"""Earlier clip that each clip of a segment is coded against; never more than two are needed."""

_DECODE_SIDE = ("kernels.", "prior.")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PredictedClip:
    """What one forward pass says about a clip.

    Attributes:
        step_index: quantisation step of both tensors, on the stream's grid.
        symbols: int32 ``tiles (C, h, w)`` and ``grid (C, H, W)``; weights are symbols times step.
    """

    step_index: int
    symbols: dict[str, NDArray[np.int32]]


class Predictor:
    """The hypernetwork of a predictor file together with the decode file it was trained with.

    Args:
        model: trained weights; its kernels and prior are those of the decode file.
        decode_file: what the streams of this predictor will name.
    """

    def __init__(self, model: WeightPredictor, decode_file: DecodeFile) -> None:
        self.decode_file = decode_file
        self._model = model.eval().requires_grad_(requires_grad=False)

    def predict(self, frames_TCHW: Tensor, quality: int) -> PredictedClip:
        """Weights of one clip.

        Args:
            frames_TCHW: 1 to 8 RGB frames, uint8, or float in [0, 1]; any size. Missing frames
                repeat the last, missing rows and columns the border.
            quality: 1 (fewest bits) to 100.

        Raises:
            InvalidSettings: quality out of range.
        """
        step_index = self._model.config.quality_step(quality)
        frames = frames_TCHW.float() / 255 if frames_TCHW.dtype == torch.uint8 else frames_TCHW
        height, width = frames.shape[-2:]
        frames = F.pad(frames, (0, -width % GRID_CELL, 0, -height % GRID_CELL), mode="replicate")
        missing = frames[-1:].expand(CLIP_FRAMES - len(frames), -1, -1, -1)
        clip = torch.cat((frames, missing))[None].to(self._device)
        index = torch.tensor([step_index], device=self._device)
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16):
            tiles, grid = self._model(clip, index)
        return PredictedClip(
            step_index=step_index, symbols={"tiles": _round(tiles), "grid": _round(grid)}
        )

    def to(self, device: torch.device) -> Predictor:
        """Move the network; the decode file stays where it is."""
        self._model.to(device)
        return self

    @property
    def _device(self) -> torch.device:
        return self._model.grid_head.weight.device


def pack_predictor(model: WeightPredictor, decode_sha256: str) -> bytes:
    """The bytes of a predictor file: everything that only encoding needs, in float16.

    Raises:
        ValueError: larger than a predictor file may be.
    """
    tensors = {
        name: value.detach().half().contiguous()
        for name, value in model.state_dict().items()
        if not name.startswith(_DECODE_SIDE)
    }
    header = {
        "format": FORMAT,
        "transformer": json.dumps(asdict(model.config.transformer)),
        "decode_file": decode_sha256,
    }
    data: bytes = save(tensors, metadata=header)
    if len(data) > MAX_BYTES:
        raise ValueError(f"a predictor file of {len(data)} bytes, at most {MAX_BYTES} are allowed")
    return data


def load_predictor(path: Path, decode_path: Path) -> Predictor:
    """Read a predictor file and its decode file.

    Raises:
        UnreadableInput: the predictor file is absent, damaged or of an unknown kind.
        MissingDecodeFile: the same for the decode file.
        InvalidSettings: they do not belong together.
    """
    decode_file = load_decode_file(decode_path)
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UnreadableInput(f"cannot read predictor file {path}: {error}") from error
    if header.get("format") != FORMAT:
        raise UnreadableInput(f"{path} is of kind {header.get('format')!r}, not {FORMAT!r}")
    if header["decode_file"] != decode_file.sha256:
        raise InvalidSettings(f"{path} was not trained with {decode_path}: use the pair as shipped")
    config = ModelConfig(
        decoder=decode_file.config,
        prior=decode_file.prior.config,
        transformer=TransformerConfig(**json.loads(header["transformer"])),
    )
    model = WeightPredictor(config)
    _load(model, tensors, path)
    _share_kernels(model, decode_file)
    return Predictor(channels_last(model), decode_file)


def _load(model: WeightPredictor, tensors: dict[str, Tensor], path: Path) -> None:
    try:
        keys: Any = model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise UnreadableInput(f"{path} does not fit the sizes that it names: {error}") from error
    missing = [name for name in keys.missing_keys if not name.startswith(_DECODE_SIDE)]
    if missing or keys.unexpected_keys:
        raise UnreadableInput(f"{path} lacks {missing} and has unknown {keys.unexpected_keys}")


def _share_kernels(model: WeightPredictor, decode_file: DecodeFile) -> None:
    """The predictor subtracts what the decoder will add, so both must use the same numbers."""
    with torch.no_grad():
        for name, kernel in model.base().items():
            kernel.copy_(decode_file.base[name])


def _round(values: Tensor) -> NDArray[np.int32]:
    rounded: NDArray[np.int32] = torch.floor(values[0] + 0.5).to(torch.int32).cpu().numpy()
    return rounded
