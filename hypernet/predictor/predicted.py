"""What a predictor says about a clip, and what predictor files have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hypernet.bitstream.steps import step_size
from hypernet.decoders.coding_order import Step
from hypernet.decoders.decode_file import DecodeFile
from hypernet.errors import UnreadableInput
from hypernet.predictor.motion import MOTION_STEPS

MAX_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PredictedClip:
    """What one forward pass says about a clip.

    Attributes:
        step_indices: quantisation step of each tensor, on the stream's grid.
        symbols: int32 by name of the tensor; weights are symbols times step.
    """

    step_indices: dict[str, int]
    symbols: dict[str, NDArray[np.int32]]

    def weights(self) -> dict[str, Tensor]:
        """Weights as the decoder gets them."""
        return {
            name: torch.from_numpy(symbols).float() * step_size(self.step_indices[name])
            for name, symbols in self.symbols.items()
        }


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NearClip:
    """The decoded clip that another departs from.

    Attributes:
        picture: its nearest frame as it is decoded, ``(3, H, W)`` float.
        offset: frames from the middle of the other clip to that, negative if it is earlier.
        grid: its grid symbols, int32.
    """

    picture: Tensor
    offset: float
    grid: NDArray[np.int32]


class ClipPredictor(ABC):
    """A trained hypernetwork together with the decode file that its streams name."""

    decode_file: DecodeFile

    @abstractmethod
    def coding_order(self, num_clips: int) -> Sequence[Step]:
        """In which order the clips of a segment are coded, and against which."""

    @abstractmethod
    def analyse(self, frames_TCHW: Tensor, quality: int, motion_steps: int = MOTION_STEPS) -> Any:
        """What can be known of a clip before those that it departs from are coded.

        Args:
            frames_TCHW: 1 to 8 RGB frames, uint8, or float in [0, 1]; any size.
            quality: about that of the prediction; motion is as exact as it is worth there.
            motion_steps: gradient steps for the motion, where the decoder has one.
        """

    @abstractmethod
    def predict_analysed(
        self, analysed: Any, quality: int, near: NearClip | None = None, depth: int = 0
    ) -> PredictedClip:
        """Weights of a clip that was analysed, see ``predict``."""

    def predict(
        self,
        frames_TCHW: Tensor,
        quality: int,
        near: NearClip | None = None,
        depth: int = 0,
        motion_steps: int = MOTION_STEPS,
    ) -> PredictedClip:
        """Weights of one clip.

        Args:
            frames_TCHW: 1 to 8 RGB frames, uint8, or float in [0, 1]; any size.
            quality: 1 (fewest bits) to 100.
            near: the clip that this one departs from, for a decoder that does.
            depth: how many clips this one needs.
            motion_steps: gradient steps for the motion, where the decoder has one.

        Raises:
            InvalidSettings: quality out of range.
        """
        analysed = self.analyse(frames_TCHW, quality, motion_steps)
        return self.predict_analysed(analysed, quality, near, depth)


def check_size(data: bytes) -> bytes:
    """The bytes of a predictor file, unchanged.

    Raises:
        ValueError: larger than a predictor file may be.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"a predictor file of {len(data)} bytes, at most {MAX_BYTES} are allowed")
    return data


def load_exactly(
    model: nn.Module, tensors: Mapping[str, Tensor], path: Path, not_in_file: tuple[str, ...]
) -> None:
    """Load a predictor file into a model; names with the given beginnings live in another file.

    Raises:
        UnreadableInput: the file does not hold what the model needs.
    """
    try:
        keys: Any = model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise UnreadableInput(f"{path} does not fit the sizes that it names: {error}") from error
    missing = [name for name in keys.missing_keys if not name.startswith(not_in_file)]
    if missing or keys.unexpected_keys:
        raise UnreadableInput(f"{path} lacks {missing} and has unknown {keys.unexpected_keys}")
