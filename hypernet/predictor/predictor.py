"""A trained predictor, loaded and ready: frames in, integer symbols out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hypernet.arithmetic import bfloat16_pays
from hypernet.decoders.coding_order import Step, coding_order
from hypernet.decoders.decode_file import DecodeFile, load_decode_file
from hypernet.decoders.spectrum import CLIP_FRAMES, used_channels
from hypernet.decoders.tubelet import TubeletConfig
from hypernet.decoders.tubelet_layers import whole_cells
from hypernet.errors import InvalidSettings, UnreadableInput
from hypernet.predictor import tile_predictor
from hypernet.predictor.analysis import MOTION_STEP_INDEX, AnalysedClip, Reference
from hypernet.predictor.grid_choice import chosen_grid
from hypernet.predictor.motion import MOTION_STEPS
from hypernet.predictor.predicted import (
    ClipPredictor,
    NearClip,
    PredictedClip,
    check_size,
    load_exactly,
)
from hypernet.predictor.tile_predictor import TilePredictor, unpack_tile_predictor
from hypernet.predictor.transformer import TransformerConfig
from hypernet.predictor.weight_predictor import (
    GATE_STEP_INDEX,
    ModelConfig,
    PredictedWeights,
    WeightPredictor,
    channels_last,
)
from hypernet.tensor_file import tensor_bytes

FORMAT = "tubelet-predictor-4"

_DECODE_SIDE = ("kernels.", "prior.")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Analysed:
    """A clip of eight frames, and how many of them are not repeated."""

    clip: AnalysedClip
    num_frames: int


class Predictor(ClipPredictor):
    """The hypernetwork of a predictor file together with the decode file it was trained with.

    Args:
        model: trained weights; its kernels and prior are those of the decode file.
        decode_file: what the streams of this predictor will name.
    """

    def __init__(self, model: WeightPredictor, decode_file: DecodeFile) -> None:
        self.decode_file = decode_file
        self._model = model.eval().requires_grad_(requires_grad=False)

    def coding_order(self, num_clips: int) -> tuple[Step, ...]:
        """The key clip in the middle; no clip needs more than two others."""
        return coding_order(num_clips)

    def analyse(
        self, frames_TCHW: Tensor, quality: int, motion_steps: int = MOTION_STEPS
    ) -> _Analysed:
        """See ``ClipPredictor``."""
        step = torch.tensor([self._model.config.quality_step(quality, 1)], device=self._device)
        with torch.inference_mode():
            clip = self._model.analyse(frames_TCHW[None].to(self._device), step, motion_steps)
        return _Analysed(clip=clip, num_frames=len(frames_TCHW))

    def predict_analysed(
        self, analysed: _Analysed, quality: int, near: NearClip | None = None, depth: int = 0
    ) -> PredictedClip:
        """See ``ClipPredictor``."""
        step_index = self._model.config.quality_step(quality, depth)
        device = self._device
        index = torch.tensor([step_index], device=device)
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=bfloat16_pays(device))
        with torch.inference_mode(), autocast:
            weights = self._model.weights(analysed.clip, index, self._reference(near))
        with torch.inference_mode():
            grid = self._chosen(weights, step_index, near, CLIP_FRAMES / analysed.num_frames)
        return _to_clip(weights, grid, step_index)

    def to(self, device: torch.device) -> Predictor:
        """Move the network; the decode file stays where it is."""
        self._model.to(device)
        return self

    def _chosen(
        self, weights: PredictedWeights, step_index: int, near: NearClip | None, repeats: float
    ) -> Tensor:
        device = self._device
        before = None
        if near is not None:
            before = torch.from_numpy(near.grid).to(device, torch.float32)[None]
        return chosen_grid(self.decode_file.prior.to(device), weights, step_index, before, repeats)

    def _reference(self, near: NearClip | None) -> Reference | None:
        if near is None:
            return None
        return Reference(
            picture=whole_cells(near.picture[None]).to(self._device),
            offset=torch.tensor([near.offset], device=self._device),
        )

    @property
    def _device(self) -> torch.device:
        return self._model.shift_head.weight.device


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
    return check_size(tensor_bytes(tensors, header))


def load_predictor(path: Path, decode_path: Path) -> Predictor:
    """Read the predictor file of a tubelet model and its decode file, as ``load_clip_predictor``.

    Raises:
        UnreadableInput: it is of another kind, too.
    """
    predictor = load_clip_predictor(path, decode_path)
    if not isinstance(predictor, Predictor):
        raise UnreadableInput(f"{path} does not predict tubelets")
    return predictor


def load_clip_predictor(path: Path, decode_path: Path) -> Predictor | TilePredictor:
    """Read a predictor file of any kind and its decode file.

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
    if header.get("format") not in (FORMAT, tile_predictor.FORMAT):
        raise UnreadableInput(f"{path} is of kind {header.get('format')!r}, which is not known")
    if header["decode_file"] != decode_file.sha256:
        raise InvalidSettings(f"{path} was not trained with {decode_path}: use the pair as shipped")
    if header["format"] == tile_predictor.FORMAT:
        return unpack_tile_predictor(header, tensors, decode_file, path)
    return _unpack(header, tensors, decode_file, path)


def _unpack(
    header: dict[str, str], tensors: dict[str, Tensor], decode_file: DecodeFile, path: Path
) -> Predictor:
    if not isinstance(decode_file.config, TubeletConfig):
        raise UnreadableInput(f"{path} needs a tubelet, {decode_file.path} is another decoder")
    config = ModelConfig(
        decoder=decode_file.config,
        prior=decode_file.prior.config,
        transformer=TransformerConfig(**json.loads(header["transformer"])),
    )
    model = WeightPredictor(config)
    load_exactly(model, tensors, path, not_in_file=_DECODE_SIDE)
    _share_kernels(model, decode_file)
    return Predictor(channels_last(model), decode_file)


def _share_kernels(model: WeightPredictor, decode_file: DecodeFile) -> None:
    """The predictor subtracts what the decoder will add, so both must use the same numbers."""
    with torch.no_grad():
        for name, kernel in model.base().items():
            kernel.copy_(decode_file.base[name])


def _to_clip(weights: PredictedWeights, grid: Tensor, step_index: int) -> PredictedClip:
    tensors = {
        "motion": weights.motion,
        "sway": weights.sway,
        "gate": weights.gate,
        "grid": grid,
    }
    return PredictedClip(
        step_indices={
            "motion": MOTION_STEP_INDEX,
            "sway": MOTION_STEP_INDEX,
            "gate": GATE_STEP_INDEX,
            "grid": step_index,
        },
        symbols={name: _written(value[0]) for name, value in tensors.items()},
    )


def _written(values_CHW: Tensor) -> NDArray[np.int32]:
    """As integers. Pages of channels that hold nothing are not written, so they take no memory."""
    symbols = np.zeros(values_CHW.shape, np.int32)
    used = used_channels(values_CHW[None])
    symbols[used.cpu().numpy()] = values_CHW[used].to(torch.int32).cpu().numpy()
    return symbols
