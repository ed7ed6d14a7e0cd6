"""Gradient fitting of a decoder's weights to one clip, aware of what they will cost to send.

Loss = mean squared error + rate_weight * bits per pixel. Weights are rounded while they are fitted:
first by uniform noise, at the end by straight-through rounding on the very grid that is sent; the
step sizes are learned with them (as in NVRC, arXiv 2409.07414, and NIRVANA, arXiv 2212.14593, with
a closed-form entropy in place of a learned one).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hypernet.arithmetic import bfloat16_pays
from hypernet.bitstream.steps import nearest_step_index, step_size
from hypernet.decoders.base import Decoder
from hypernet.decoders.blocks import HEAD_BIAS
from hypernet.errors import Cancelled, EncodeFailed
from hypernet.optimizer import FitOptimizer
from hypernet.quantization import Symbols, dequantize, quantize
from hypernet.rate_distortion import Quality, coded_bits, decoded_quality
from hypernet.rate_model import laplace_bits
from hypernet.weights import WeightSpec

WARMUP_STEPS = 10
DECAY_START = 0.6  # of a fit: from here on the learning rate falls
ROUNDING_START = 0.7  # of a fit: noise before, straight-through on frozen steps after
INITIAL_STEP = 0.25  # of a tensor's initial standard deviation
VECTOR_STEP = 0.02  # initial step of tensors that start at a constant
BATCH_FRAMES = 2
FIRST_TARGET_CHECK = 0.2  # of a fit with a target: when it first looks at its decoded quality
TARGET_CHECK_INTERVAL = 0.05
PROGRESS_DECAY = 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class FitSettings:
    """How long and at which rate-distortion trade-off to fit.

    ``rate_weight`` is the mean squared error (RGB in [0, 1]) that one bit per pixel is worth. The
    fit ends after ``steps`` steps or ``seconds`` seconds, whichever comes first, or once the
    decoded quality has reached ``target_psnr_db``. Two settings exist to be compared with:
    ``eight_bit`` fits without any regard to rate and rounds every tensor to 8 bits at the end, as
    the papers do; ``float32`` computes in it where bfloat16 is faster.
    """

    rate_weight: float
    steps: int
    seconds: float = math.inf
    target_psnr_db: float | None = None
    learning_rate: float = 0.02
    batch_frames: int = BATCH_FRAMES
    seed: int = 0
    eight_bit: bool = False
    float32: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class FitProgress:
    """State of a running fit; quality and rate are running estimates."""

    step: int
    fraction: float
    psnr_db: float
    bits_per_pixel: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedWeights:
    """What is sent: integers by tensor name, one step index per spec, and the steps it took."""

    symbols: dict[str, NDArray[np.int32]]
    step_indices: tuple[int, ...]
    steps: int


def initial_weights(
    specs: Sequence[WeightSpec], seed: int, frames_TCHW: Tensor
) -> dict[str, Tensor]:
    """Random start of a fit from scratch, reproducible by seed; it renders the mean colour."""
    generator = torch.Generator().manual_seed(seed)
    start = {
        s.name: torch.randn(s.shape, generator=generator) * s.init_std + s.init_mean for s in specs
    }
    colour = frames_TCHW.float().mean(dim=(0, 2, 3)) / 255 - 0.5
    bias = start[HEAD_BIAS]
    bias += colour.repeat_interleave(bias.numel() // 3)
    return start


def fit(
    decoder: Decoder,
    frames_TCHW: Tensor,
    settings: FitSettings,
    *,
    initial: FittedWeights | None = None,
    reference: Symbols | None = None,
    device: torch.device | None = None,
    on_progress: Callable[[FitProgress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> FittedWeights:
    """Fit a decoder to the frames of one clip.

    A refinement keeps the step sizes, and never makes it worse: what it started from is returned
    if that has the smaller loss, as decoded and coded, or alone reaches the target.

    Args:
        decoder: describes the network; its clip shape must be that of the frames.
        frames_TCHW: RGB, uint8.
        settings: trade-off and limits.
        initial: what to refine; without it, the start is random by ``settings.seed``.
        reference: integers, on the grid of ``initial``, that the result will be coded against.
        device: where to compute.
        on_progress: called after every step.
        should_stop: asked before every step.

    Raises:
        Cancelled: ``should_stop`` returned true.
        EncodeFailed: the fit diverged, or a weight is too large to be coded.
    """
    run = _Fit(
        decoder,
        frames_TCHW,
        settings,
        initial=initial,
        reference=reference,
        device=device or torch.device("cpu"),
    )
    while not run.finished():
        if should_stop is not None and should_stop():
            raise Cancelled("the fit was cancelled")
        progress = run.advance()
        if on_progress is not None:
            on_progress(progress)
    if initial is None:
        return run.result()
    return min(replace(initial, steps=run.steps), run.result(), key=run.cost)


class _Fit:
    def __init__(
        self,
        decoder: Decoder,
        frames_TCHW: Tensor,
        settings: FitSettings,
        *,
        initial: FittedWeights | None,
        reference: Symbols | None,
        device: torch.device,
    ) -> None:
        self.decoder, self.settings, self.device = decoder, settings, device
        self.reference = reference
        self.frames = frames_TCHW.to(device)
        self.specs = decoder.weight_specs()
        self.generator = torch.Generator().manual_seed(settings.seed)
        if initial is None:
            start = initial_weights(self.specs, settings.seed, frames_TCHW)
        else:
            start = dequantize(self.specs, initial.symbols, initial.step_indices)
        self.optimizer = FitOptimizer(
            self.specs,
            {name: value.to(device) for name, value in start.items()},
            torch.tensor([_initial_log2_step(s) for s in self.specs], device=device),
            settings.learning_rate,
        )
        # Set once the steps are frozen. Noise would undo a good fit faster than a few steps mend.
        self.step_indices = None if initial is None else initial.step_indices
        self.origins = {
            name: torch.from_numpy(symbols).to(device).float()
            for name, symbols in (reference or {}).items()
        }
        self.batches = _frame_batches(len(self.frames), settings.batch_frames, self.generator)
        self.steps = 0
        self.started = time.monotonic()
        self.mse = self.bits_per_pixel = math.nan
        self.target_met = False
        self.next_check = FIRST_TARGET_CHECK

    def finished(self) -> bool:
        return self.target_met or self._fraction() >= 1.0

    def advance(self) -> FitProgress:
        """One gradient step."""
        fraction = self._fraction()
        if self.step_indices is None and fraction >= ROUNDING_START:
            self._freeze_steps()
        index_N = next(self.batches)
        sent, bits_per_pixel = self._rounded_weights()
        mse = F.mse_loss(self._render(sent, index_N), self.frames[index_N].float() / 255)
        loss = mse + self.settings.rate_weight * bits_per_pixel
        self.optimizer.step(loss, _learning_scale(self.steps, fraction))
        self.steps += 1
        self._observe(mse.item(), bits_per_pixel.item())
        self._check_target()
        return FitProgress(
            step=self.steps,
            fraction=min(1.0, self._fraction()),
            psnr_db=-10 * math.log10(max(self.mse, 1e-12)),
            bits_per_pixel=self.bits_per_pixel,
        )

    def result(self) -> FittedWeights:
        indices = self.step_indices or self._nearest_step_indices()
        return FittedWeights(
            symbols=quantize(self.specs, self.optimizer.weights(), indices),
            step_indices=indices,
            steps=self.steps,
        )

    def cost(self, fitted: FittedWeights) -> tuple[bool, float]:
        """Sorts by whether the target is missed, then by the loss of what would be sent."""
        quality, target = self._quality(fitted), self.settings.target_psnr_db
        bits = 0.0
        if not self.settings.eight_bit:
            bits = coded_bits(self.specs, fitted.symbols, self.reference)
        loss = quality.mse + self.settings.rate_weight * bits / self.decoder.clip.pixels
        return target is not None and quality.psnr_db < target, loss

    def _fraction(self) -> float:
        elapsed = time.monotonic() - self.started
        seconds = max(self.settings.seconds, 1e-9)  # a budget may be spent before the first step
        return max(self.steps / max(self.settings.steps, 1), elapsed / seconds)

    def _rounded_weights(self) -> tuple[dict[str, Tensor], Tensor]:
        """Weights as the decoder will see them, and the bits per pixel they will cost."""
        weights = self.optimizer.weights()
        bits = torch.zeros((), device=self.device)
        if self.settings.eight_bit:
            return weights, bits
        sent = {}
        for i, spec in enumerate(self.specs):
            step = self._step(i)
            scaled = weights[spec.name] / step
            bits = bits + laplace_bits(scaled - self.origins.get(spec.name, 0), spec)
            sent[spec.name] = self._rounded(scaled) * step
        return sent, bits / self.decoder.clip.pixels

    def _step(self, i: int) -> Tensor:
        if self.step_indices is None:
            return torch.exp2(self.optimizer.log2_steps[i])
        return torch.tensor(step_size(self.step_indices[i]), device=self.device)

    def _rounded(self, scaled: Tensor) -> Tensor:
        if self.step_indices is None:
            noise = torch.rand(scaled.shape, generator=self.generator) - 0.5
            return scaled + noise.to(self.device)
        return scaled + (torch.round(scaled) - scaled).detach()

    def _render(self, weights: Mapping[str, Tensor], index_N: Tensor) -> Tensor:
        bfloat16 = not self.settings.float32 and bfloat16_pays(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16):
            laid_out = {
                name: w.to(memory_format=torch.channels_last) if w.dim() == 4 else w
                for name, w in weights.items()
            }
            return self.decoder.render(laid_out, index_N.to(self.device).float())

    def _freeze_steps(self) -> None:
        self.step_indices = self._nearest_step_indices()

    def _nearest_step_indices(self) -> tuple[int, ...]:
        if self.settings.eight_bit:
            return _eight_bit_steps(self.optimizer.weights().values())
        try:
            return tuple(nearest_step_index(2.0**s) for s in self.optimizer.log2_steps.tolist())
        except (ValueError, OverflowError) as error:  # not a number, or beyond any
            raise self._diverged() from error

    def _observe(self, mse: float, bits_per_pixel: float) -> None:
        if not math.isfinite(mse + bits_per_pixel):
            raise self._diverged()
        decay = PROGRESS_DECAY if self.steps > 1 else 0.0
        self.mse = mse + decay * (self.mse - mse) if decay else mse
        self.bits_per_pixel = bits_per_pixel

    def _diverged(self) -> EncodeFailed:
        return EncodeFailed(f"the fit diverged at step {self.steps}; try another --seed")

    def _check_target(self) -> None:
        target = self.settings.target_psnr_db
        if target is None or self._fraction() < self.next_check:
            return
        self.next_check += TARGET_CHECK_INTERVAL
        if -10 * math.log10(max(self.mse, 1e-12)) >= target:
            self.target_met = self._quality(self.result()).psnr_db >= target

    def _quality(self, fitted: FittedWeights) -> Quality:
        weights = dequantize(self.specs, fitted.symbols, fitted.step_indices, self.device)
        return decoded_quality(self.decoder, weights, self.frames)


def _learning_scale(step: int, fraction: float) -> float:
    """Warm-up, then constant, then linear decay to zero."""
    warmup = min(1.0, (step + 1) / WARMUP_STEPS)
    return warmup * min(1.0, (1.0 - min(fraction, 1.0)) / (1.0 - DECAY_START))


def _eight_bit_steps(tensors: Iterable[Tensor]) -> tuple[int, ...]:
    """Steps that divide each tensor's range by 255."""
    ranges = [(value.max() - value.min()).item() for value in tensors]
    return tuple(nearest_step_index(max(span, 1e-3) / 255) for span in ranges)


def _frame_batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Frame numbers, shuffled anew in each round; for ever."""
    while True:
        yield from torch.split(torch.randperm(count, generator=generator), size)


def _initial_log2_step(spec: WeightSpec) -> float:
    return math.log2(spec.init_std * INITIAL_STEP if spec.init_std > 0 else VECTOR_STEP)
