"""A trained predictor, loaded and ready: frames in, integer symbols out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hypernet.bitstream.steps import step_size
from hypernet.decoders.decode_file import DecodeFile, load_decode_file
from hypernet.decoders.spectrum import CLIP_FRAMES
from hypernet.decoders.tubelet_layers import whole_cells
from hypernet.errors import InvalidSettings, UnreadableInput
from hypernet.predictor.motion import MOTION_STEPS
from hypernet.predictor.transformer import TransformerConfig
from hypernet.predictor.weight_predictor import (
    GATE_STEP_INDEX,
    MOTION_STEP_INDEX,
    TILES_STEP_INDEX,
    ModelConfig,
    PredictedWeights,
    Reference,
    WeightPredictor,
    channels_last,
)

FORMAT = "tubelet-predictor-2"
MAX_BYTES = 16 << 20

_DECODE_SIDE = ("kernels.", "prior.")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PredictedClip:
    """What one forward pass says about a clip.

    Attributes:
        step_indices: quantisation step of each tensor, on the stream's grid.
        symbols: int32 ``(C, h, w)`` of motion, gate, tiles and grid; weights are symbols times
            step.
    """

    step_indices: dict[str, int]
    symbols: dict[str, NDArray[np.int32]]

    def weights(self) -> dict[str, Tensor]:
        """Weights as the decoder gets them."""
        return {
            name: torch.from_numpy(symbols).float() * step_size(self.step_indices[name])
            for name, symbols in self.symbols.items()
        }


class Predictor:
    """The hypernetwork of a predictor file together with the decode file it was trained with.

    Args:
        model: trained weights; its kernels and prior are those of the decode file.
        decode_file: what the streams of this predictor will name.
    """

    def __init__(self, model: WeightPredictor, decode_file: DecodeFile) -> None:
        self.decode_file = decode_file
        self._model = model.eval().requires_grad_(requires_grad=False)

    def predict(
        self,
        frames_TCHW: Tensor,
        quality: int,
        reference: tuple[Tensor, float] | None = None,
        depth: int = 0,
        motion_steps: int = MOTION_STEPS,
    ) -> PredictedClip:
        """Weights of one clip.

        Args:
            frames_TCHW: 1 to 8 RGB frames, uint8, or float in [0, 1]; any size. Missing frames
                repeat the last, missing rows and columns the border.
            quality: 1 (fewest bits) to 100.
            reference: nearest frame of another clip as it is decoded, ``(3, H, W)`` float, and the
                frames from the middle of this clip to it, negative if it is earlier.
            depth: how many clips this one needs.
            motion_steps: gradient steps for the motion.

        Raises:
            InvalidSettings: quality out of range.
        """
        step_index = self._model.config.quality_step(quality, depth)
        clip = _whole_clip(frames_TCHW.to(self._device))[None]
        index = torch.tensor([step_index], device=self._device)
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16):
            weights = self._model(clip, index, self._reference(reference), motion_steps)
        return _to_clip(weights, step_index)

    def to(self, device: torch.device) -> Predictor:
        """Move the network; the decode file stays where it is."""
        self._model.to(device)
        return self

    def _reference(self, reference: tuple[Tensor, float] | None) -> Reference | None:
        if reference is None:
            return None
        picture, offset = reference
        return Reference(
            picture=whole_cells(picture[None]).to(self._device),
            offset=torch.tensor([offset], device=self._device),
        )

    @property
    def _device(self) -> torch.device:
        return self._model.tiles_head.weight.device


def _whole_clip(frames_TCHW: Tensor) -> Tensor:
    """Eight frames of whole cells, float in [0, 1]; as few copies as possible, they are large."""
    is_bytes = frames_TCHW.dtype == torch.uint8
    frames = whole_cells(frames_TCHW.float().div_(255) if is_bytes else frames_TCHW)
    if missing := CLIP_FRAMES - len(frames):
        frames = torch.cat((frames, frames[-1:].expand(missing, -1, -1, -1)))
    return frames


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


def _to_clip(weights: PredictedWeights, step_index: int) -> PredictedClip:
    sent = weights.rounded()
    tensors = {"motion": sent.motion, "gate": sent.gate, "tiles": sent.tiles, "grid": sent.grid}
    return PredictedClip(
        step_indices={
            "motion": MOTION_STEP_INDEX,
            "gate": GATE_STEP_INDEX,
            "tiles": TILES_STEP_INDEX,
            "grid": step_index,
        },
        symbols={name: value[0].to(torch.int32).cpu().numpy() for name, value in tensors.items()},
    )
