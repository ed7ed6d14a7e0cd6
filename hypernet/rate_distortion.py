"""What integers are worth: the quality they decode to and the bits they take in a payload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hypernet.bitstream.planning import estimate_bits
from hypernet.decoders.base import Decoder, Weights
from hypernet.evaluation.metrics import FRAME_PSNR_LIMIT_DB
from hypernet.quantization import Symbols
from hypernet.weights import WeightSpec

BATCH_FRAMES = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """Distortion of 8-bit RGB: mean squared error in [0, 1], and PSNR as a mean over frames."""

    mse: float
    psnr_db: float


@torch.no_grad()
def decoded_quality(decoder: Decoder, weights: Weights, frames_TCHW: Tensor) -> Quality:
    """Quality of the frames that a decoder would show.

    Args:
        decoder: of the frames' clip.
        weights: float32, on the device of the frames.
        frames_TCHW: what should be shown; RGB, uint8.
    """
    errors_T = []
    for index_N in torch.split(torch.arange(len(frames_TCHW)), BATCH_FRAMES):
        rendered = decoder.render(weights, index_N.to(frames_TCHW.device).float())
        decoded = rendered.clamp(0, 1).mul(255).round()
        error = (decoded - frames_TCHW[index_N].float()) / 255
        errors_T.append(error.square().mean(dim=(1, 2, 3)))
    mse_T = torch.cat(errors_T).double()
    psnr_T = (-10 * torch.log10(mse_T)).clamp_max(FRAME_PSNR_LIMIT_DB)
    return Quality(mse=mse_T.mean().item(), psnr_db=psnr_T.mean().item())


def coded_bits(
    specs: Sequence[WeightSpec], symbols: Symbols, reference: Symbols | None = None
) -> float:
    """Bits of a clip, side information included.

    Args:
        specs: of its tensors.
        symbols: its integers.
        reference: those of the clip that it is coded against, None if coded on its own.

    Raises:
        EncodeFailed: a symbol is too large to be coded.
    """
    against = reference or {}
    return sum(estimate_bits(symbols[s.name], s, against.get(s.name)) for s in specs)
