"""A trained predictor of NeRV-Enc or TeCoNeRV, loaded and ready: frames in, integers out."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernet.bitstream.steps import NUM_STEPS, step_size
from hypernet.decoders.coding_order import Step, all_keys, each_after_another
from hypernet.decoders.decode_file import DecodeFile
from hypernet.decoders.hyponet import HyponetConfig, factor_name
from hypernet.decoders.spectrum import CLIP_FRAMES
from hypernet.decoders.tiling import cut_tiles
from hypernet.errors import InvalidSettings, UnreadableInput
from hypernet.predictor.factor_predictor import FactorModelConfig, FactorPredictor
from hypernet.predictor.motion import MOTION_STEPS
from hypernet.predictor.predicted import (
    ClipPredictor,
    NearClip,
    PredictedClip,
    check_size,
    load_exactly,
)
from hypernet.predictor.transformer import TransformerConfig
from hypernet.tensor_file import tensor_bytes

FORMAT = "hyponet-predictor-1"
STEPS_OVER_RANGE = 48
"""Step indices between the coarsest and the finest quality: six octaves, so that the rates of
whole frames and of tiles meet."""
TILES_AT_ONCE = 16

_DECODE_SIDE = "kernels."


class TilePredictor(ClipPredictor):
    """The hypernetwork of a predictor file together with the decode file it was trained with.

    Args:
        model: trained weights.
        decode_file: what the streams of this predictor will name.
        middle_steps: quantisation step of each layer's factors at the middle quality, by number.
    """

    def __init__(
        self, model: FactorPredictor, decode_file: DecodeFile, middle_steps: dict[int, int]
    ) -> None:
        self.decode_file = decode_file
        self._config = model.config.decoder
        self._middle_steps = middle_steps
        self._model = model.eval().requires_grad_(requires_grad=False)

    def coding_order(self, num_clips: int) -> tuple[Step, ...]:
        """NeRV-Enc codes every clip alone, TeCoNeRV each against the one before."""
        return all_keys(num_clips) if self._config.whole_frame else each_after_another(num_clips)

    def analyse(
        self,
        frames_TCHW: Tensor,
        quality: int,  # noqa: ARG002 - part of the contract
        motion_steps: int = MOTION_STEPS,  # noqa: ARG002
    ) -> Tensor:
        """The frames themselves: the motion is in the weights."""
        return frames_TCHW

    def predict_analysed(
        self,
        analysed: Tensor,
        quality: int,
        near: NearClip | None = None,  # noqa: ARG002 - nothing departs from another clip
        depth: int = 0,  # noqa: ARG002 - one grid of symbols for the whole segment
    ) -> PredictedClip:
        """Weights of one clip, see ``ClipPredictor``; only frames and quality matter."""
        steps = self._steps(quality)
        with torch.inference_mode():
            factors = self._factors(analysed)
        symbols = {
            factor_name(number): torch.round(value / step_size(steps[number])).permute(1, 2, 0)
            for number, value in factors.items()
        }
        return PredictedClip(
            step_indices={factor_name(number): step for number, step in steps.items()},
            symbols={n: v.to(torch.int32).cpu().contiguous().numpy() for n, v in symbols.items()},
        )

    def to(self, device: torch.device) -> TilePredictor:
        """Move the network; the decode file stays where it is."""
        self._model.to(device)
        return self

    def _steps(self, quality: int) -> dict[int, int]:
        if not 1 <= quality <= 100:
            raise InvalidSettings(f"quality {quality} is not in 1..100")
        coarser = round((50 - quality) * STEPS_OVER_RANGE / 99)
        return {n: min(max(s + coarser, 0), NUM_STEPS - 1) for n, s in self._middle_steps.items()}

    def _factors(self, frames_TCHW: Tensor) -> dict[int, Tensor]:
        device = self._model.weight_tokens.device
        tiles = tiles_of(frames_TCHW.to(device), self._config)
        # In float32: bfloat16 moves attention logits, which go up to 30, by a tenth.
        parts = [self._model(part) for part in torch.split(tiles, TILES_AT_ONCE)]
        return {number: torch.cat([part[number] for part in parts]) for number in parts[0]}


def tiles_of(frames_TCHW: Tensor, config: HyponetConfig) -> Tensor:
    """What the hypernetwork sees of a clip: ``(tiles, 8, 3, h, w)`` in [0, 1]."""
    is_bytes = frames_TCHW.dtype == torch.uint8
    frames = frames_TCHW.float().div_(255) if is_bytes else frames_TCHW
    if missing := CLIP_FRAMES - len(frames):
        frames = torch.cat((frames, frames[-1:].expand(missing, -1, -1, -1)))
    if not config.whole_frame:
        return cut_tiles(frames, config.tile)
    return F.interpolate(frames, size=config.tile, mode="bilinear", antialias=True)[None]


def pack_tile_predictor(
    model: FactorPredictor, decode_sha256: str, middle_steps: dict[int, int]
) -> bytes:
    """The bytes of a predictor file: everything that only encoding needs, in float16.

    Raises:
        ValueError: larger than a predictor file may be.
    """
    tensors = {
        name: value.detach().half().contiguous()
        for name, value in model.state_dict().items()
        if not name.startswith(_DECODE_SIDE)
    }
    config = model.config
    header = {
        "format": FORMAT,
        "tokens": json.dumps(config.tokens),
        "patch": json.dumps(config.patch),
        "transformer": json.dumps(asdict(config.transformer)),
        "middle_steps": json.dumps(middle_steps),
        "decode_file": decode_sha256,
    }
    return check_size(tensor_bytes(tensors, header))


def unpack_tile_predictor(
    header: dict[str, str], tensors: dict[str, Tensor], decode_file: DecodeFile, path: Path
) -> TilePredictor:
    """The predictor in an opened file.

    Raises:
        UnreadableInput: tensors and sizes do not fit.
    """
    if not isinstance(decode_file.config, HyponetConfig):
        raise UnreadableInput(f"{path} needs a hyponet, {decode_file.path} is another decoder")
    config = FactorModelConfig(
        decoder=decode_file.config,
        tokens=tuple(json.loads(header["tokens"])),
        patch=json.loads(header["patch"]),
        transformer=TransformerConfig(**json.loads(header["transformer"])),
    )
    model = FactorPredictor(config)
    load_exactly(model, tensors, path, not_in_file=(_DECODE_SIDE,))
    with torch.no_grad():
        for name, kernel in model.base().items():
            kernel.copy_(decode_file.base[name])
    steps = {int(number): step for number, step in json.loads(header["middle_steps"]).items()}
    return TilePredictor(model, decode_file, steps)
