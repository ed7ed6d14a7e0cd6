"""One fitted segment on its way to bytes and back, at a price of a bit that gives its size."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypernet.bitstream.segment import TABLE_CODING, decode_segment
from hypernet.bitstream.segment import encode_segment as code_segment
from hypernet.chain_fitting import fit_chain, segment_symbols
from hypernet.decoders import Decoder, build_decoder, config_to_fields
from hypernet.decoders.sizing import SizeTarget
from hypernet.evaluation.metrics import PsnrAccumulator, ms_ssim
from hypernet.fitted_presets import FittedFamily
from hypernet.fitting import FitProgress, FitSettings
from hypernet.quantization import dequantize
from hypernet.rendering import to_uint8
from hypernet.weights import ClipShape, WeightSpec

KILO_MULTIPLY_ADDS = 10.0  # to decode, at most
TOLERANCE = 0.02  # of the bytes aimed at
MAX_TRIALS = 5
BYTES_EXPONENT = -0.45  # how bytes follow the price of a bit: a first guess
DECODE_REPEATS = 3
MS_SSIM_EVERY = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """A running fit: the step, and wall and processor seconds since its start."""

    progress: FitProgress
    step: int
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A coded segment and what it took."""

    payload: bytes
    steps: int
    rate_weight: float
    moments: tuple[Moment, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """What became of a payload; seconds are the least of a few runs, entropy decoding included."""

    psnr_db: float
    ms_ssim: float | None
    seconds: float


class FittedSegment:
    """A method at one size on the frames of one segment.

    Args:
        family: the method.
        frames_TCHW: RGB, uint8.
        bits_per_pixel: the network is sized for it, and the bytes are its.
    """

    def __init__(self, family: FittedFamily, frames_TCHW: Tensor, bits_per_pixel: float) -> None:
        self.family, self.frames = family, frames_TCHW
        count, _, height, width = frames_TCHW.shape
        self.shape = ClipShape(frames=count, height=height, width=width)
        self.clip_frames = min(count, family.clip_frames or count)
        target = SizeTarget(
            multiply_adds_per_pixel=1000 * KILO_MULTIPLY_ADDS, bits_per_pixel=bits_per_pixel
        )
        config = family.sized(replace(self.shape, frames=self.clip_frames), target)
        self._config = config_to_fields(config)
        self.target_bytes = round(bits_per_pixel * self.shape.pixels / 8)
        self._trials: list[Trial] = []
        self._first_price = family.price / bits_per_pixel

    def decoder_of(self, num_frames: int) -> Decoder:
        """The network of a clip."""
        shape = replace(self.shape, frames=num_frames)
        return build_decoder(self.family.decoder, self._config, shape)

    def of_target_size(self, epochs: int) -> tuple[Trial, int]:
        """The trial whose bytes are nearest to the target, and how many trials there were."""
        price, trials = self._first_price, list[Trial]()
        while len(trials) < MAX_TRIALS and not any(map(self._fits, trials)):
            price = self._next_price(trials) if trials else price
            trials.append(self.trial(epochs, price))
        best = min(trials, key=self._error)
        self._first_price = best.rate_weight
        return best, len(trials)

    def trial(self, epochs: int, rate_weight: float) -> Trial:
        """Fit and code the segment once."""
        moments: list[Moment] = []
        started, cpu_started = time.monotonic(), time.process_time()

        def observe(progress: FitProgress) -> None:
            moments.append(
                Moment(
                    progress=progress,
                    step=len(moments) + 1,
                    seconds=time.monotonic() - started,
                    cpu_seconds=time.process_time() - cpu_started,
                )
            )

        settings = FitSettings(
            rate_weight=rate_weight,
            steps=max(1, round(epochs * self.shape.frames / self.family.batch_frames)),
            learning_rate=self.family.learning_rate,
            batch_frames=self.family.batch_frames,
        )
        fitted = fit_chain(
            self.decoder_of, self.frames, settings, self.clip_frames, on_progress=observe
        )
        segment = segment_symbols(fitted, range(self.shape.frames), self.clip_frames)
        return Trial(
            payload=code_segment(segment, self._specs_of),
            steps=segment.refinement_steps,
            rate_weight=rate_weight,
            moments=tuple(moments),
        )

    def decoded(self, payload: bytes) -> Decoded:
        """Decode a payload and compare."""
        seconds = math.inf
        for _ in range(DECODE_REPEATS):
            started = time.perf_counter()
            pictures = list(self._pictures(payload))
            seconds = min(seconds, time.perf_counter() - started)
        psnr, similarity = PsnrAccumulator(), list[float]()
        originals = self.frames.permute(0, 2, 3, 1).contiguous().numpy()
        for number, (original, picture) in enumerate(zip(originals, pictures, strict=True)):
            psnr.add(original, picture)
            score = ms_ssim(original, picture) if number % MS_SSIM_EVERY == 0 else None
            similarity += [] if score is None else [score]
        mean = float(np.mean(similarity)) if similarity else None
        return Decoded(psnr_db=psnr.psnr_db, ms_ssim=mean, seconds=seconds)

    def bytes_per_clip(self, payload: bytes) -> list[int]:
        """What the weights of each clip of a payload take in it."""
        clips = decode_segment(payload, self._specs_of).clips
        lengths = []
        for clip in clips:
            reference = None if clip.reference is None else clips[clip.reference].symbols
            specs = self._specs_of(clip.num_frames)
            data = TABLE_CODING.encode(clip.symbols, specs, clip.step_indices, reference)
            lengths.append(len(data))
        return lengths

    def _pictures(self, payload: bytes) -> Iterator[NDArray[np.uint8]]:
        for clip in decode_segment(payload, self._specs_of).clips:
            decoder = self.decoder_of(clip.num_frames)
            weights = dequantize(decoder.weight_specs(), clip.symbols, clip.step_indices)
            with torch.inference_mode():
                render = decoder.bind(weights)
                for number in range(clip.num_frames):
                    yield to_uint8(render(torch.tensor([float(number)])))[0].numpy()

    def _specs_of(self, num_frames: int) -> tuple[WeightSpec, ...]:
        return self.decoder_of(num_frames).weight_specs()

    def _error(self, trial: Trial) -> float:
        return abs(math.log(len(trial.payload) / self.target_bytes))

    def _fits(self, trial: Trial) -> bool:
        return self._error(trial) <= TOLERANCE

    def _next_price(self, trials: list[Trial]) -> float:
        """Where a line through the last two trials, in logarithms, meets the target."""
        *_, last = trials
        exponent = BYTES_EXPONENT
        if len(trials) > 1:
            before = trials[-2]
            distance = math.log(last.rate_weight / before.rate_weight)
            measured = math.log(len(last.payload) / len(before.payload)) / distance
            exponent = min(-0.1, max(-2.0, measured))
        wanted = math.log(self.target_bytes / len(last.payload)) / exponent
        return last.rate_weight * math.exp(min(2.0, max(-2.0, wanted)))
